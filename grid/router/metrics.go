package router

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// metrics answers in the text format of Prometheus, version 0.0.4. Counters
// begin at the router's start; peers are told apart by name and key.
func (rt *Router) metrics(w http.ResponseWriter, _ *http.Request) {
	var e exposition
	s := rt.Stats()
	e.family("lobstah_requests_total", "counter", "Requests for answers.", sample{value: float64(s.Requests)})
	e.family("lobstah_requests_unanswered_total", "counter", "Requests that no peer answered.", sample{value: float64(s.Unanswered)})
	e.family("lobstah_requests_in_flight", "gauge", "Requests that are being answered.", sample{value: float64(s.InFlight)})
	e.family("lobstah_peer_failures_total", "counter", "Attempts that failed by a peer's fault.", sample{value: float64(s.Failures)})
	e.family("lobstah_tokens_total", "counter", "Tokens of complete answers, as the peers counted them.",
		sample{`direction="input"`, float64(rt.counts.input.Load())}, sample{`direction="output"`, float64(rt.counts.output.Load())})
	e.family("lobstah_receipts_total", "counter", "What became of receipts; missing are those of answers without one.",
		sample{`result="accepted"`, float64(s.Accepted)}, sample{`result="rejected"`, float64(s.Rejected)},
		sample{`result="unkept"`, float64(s.Unkept)}, sample{`result="missing"`, float64(s.Unreceipted)})
	rt.peerMetrics(&e)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(e.String())) // the client may have left
}

func (rt *Router) peerMetrics(e *exposition) {
	var ready, running, waiting, failing, speed, first []sample
	now := rt.Now()
	for _, p := range rt.roster.sync(rt.Peers.List()).peers {
		labels := fmt.Sprintf(`peer="%s",key="%s"`, escapeLabel.Replace(p.Name()), p.ID)
		s, up := p.state(now), 0.0
		if s.Status == "ready" {
			up = 1
		}
		ready = append(ready, sample{labels, up})
		running = append(running, sample{labels, float64(s.InFlight)})
		waiting = append(waiting, sample{labels, float64(s.Queue)})
		failing = append(failing, sample{labels, float64(len(s.Failing))})
		if s.Speed > 0 {
			speed = append(speed, sample{labels, s.Speed})
		}
		if s.FirstToken > 0 {
			first = append(first, sample{labels, s.FirstToken})
		}
	}
	e.family("lobstah_peer_ready", "gauge", "1 when a peer may be asked.", ready...)
	e.family("lobstah_peer_running", "gauge", "Our requests that a peer works on.", running...)
	e.family("lobstah_peer_queue", "gauge", "Requests of all that wait at a peer.", waiting...)
	e.family("lobstah_peer_failing_models", "gauge", "Models of a peer that are left out for now.", failing...)
	e.family("lobstah_peer_tokens_per_second", "gauge", "How fast a peer answered lately.", speed...)
	e.family("lobstah_peer_first_token_seconds", "gauge", "How long a peer's first token took lately.", first...)
}

// A sample is one value of a metric; labels as they stand between the braces.
type sample struct {
	labels string
	value  float64
}

// An exposition is a page of metrics.
type exposition struct{ strings.Builder }

// family writes a metric; one without samples is left out.
func (e *exposition) family(name, kind, help string, samples ...sample) {
	if len(samples) == 0 {
		return
	}
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for _, s := range samples {
		labels := s.labels
		if labels != "" {
			labels = "{" + labels + "}"
		}
		e.WriteString(name + labels + " " + strconv.FormatFloat(s.value, 'g', -1, 64) + "\n")
	}
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
