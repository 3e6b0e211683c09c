package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// isLater reports whether the same peer is to be asked again.
func isLater(err error) bool {
	end, ok := errors.AsType[*ending](err)
	return ok && end.again
}

// submit sends the job. That it may have arrived is noted before.
func (f *follower) submit(ctx context.Context, p *peer) error {
	maybe := len(f.place.Proofs) > 0 // an earlier submission may have arrived
	said, err := f.send(ctx, p)
	if err == nil && said.status == http.StatusUnauthorized && p.learn(said.header, f.rt.Now()) {
		said, err = f.send(ctx, p)
	}
	switch {
	case err != nil && said.unsent && !maybe:
		p.health.failed(f.rt.Now(), err.Error())
		return f.refuse(ctx, refusal{Message: err.Error(), Temporary: true, After: peerPause})
	case err != nil && !said.noted:
		return err // nothing was sent
	case err != nil:
		return later(peerPause, "%s may have the job, and does not answer: %v", p.Name(), err)
	case 200 <= said.status && said.status < 300:
		p.health.succeeded()
		return f.arrived(ctx, said.body)
	}
	return f.unplaced(ctx, p, said, maybe)
}

// arrived notes the job's id at the peer.
func (f *follower) arrived(ctx context.Context, body []byte) error {
	var record grid.Job
	if err := json.Unmarshal(body, &record); err != nil || record.ID == "" || len(record.ID) > maxRemoteName {
		return f.refuse(ctx, refusal{Message: "it accepts jobs without saying which"})
	}
	f.place.Remote = record.ID
	return f.note(ctx)
}

// unplaced judges an answer that is no acceptance.
func (f *follower) unplaced(ctx context.Context, p *peer, said heard, maybe bool) error {
	e := openai.ParseError(said.status, said.body[:min(len(said.body), maxRefusalBody)])
	after := retryAfter(said.header, f.rt.Now())
	switch kind := judge(said.status, said.header, said.body); {
	case kind == passed:
		p.health.succeeded()
		return &ending{fault: e}
	case kind == refused && maybe && said.status == http.StatusServiceUnavailable:
		return later(max(after, time.Second), "%s may have the job, and is stopping", p.Name())
	case kind == refused:
		p.health.succeeded()
		busy := said.status == http.StatusTooManyRequests || said.status == http.StatusServiceUnavailable || said.status == http.StatusRequestTimeout
		return f.refuse(ctx, refusal{Status: said.status, Message: fmt.Sprint(said.status, " ", e.Message), Temporary: busy, After: after})
	case said.status == http.StatusInternalServerError && !maybe:
		p.health.failed(f.rt.Now(), e.Message)
		return f.refuse(ctx, refusal{Status: said.status, Message: fmt.Sprint(said.status, " ", e.Message), Temporary: true, After: peerPause})
	}
	return later(peerPause, "%s may have the job: %d %s", p.Name(), said.status, e.Message) // something between us answered
}

// send signs and posts the job.
func (f *follower) send(ctx context.Context, p *peer) (heard, error) {
	h := http.Header{"Content-Type": {"application/json"}, grid.IdempotencyHeader: {f.place.Key}, grid.TierHeader: {string(f.order.Tier)}}
	if proof := f.rt.sign(h, p, http.MethodPost, jobsPath, f.hash); proof != "" {
		f.place.Proofs = append(f.place.Proofs, proof)
	} else {
		f.place.Proofs = append(f.place.Proofs, "unsigned")
	}
	if len(f.place.Proofs) > mostProofs {
		f.place.Proofs = slices.Delete(f.place.Proofs, 1, 2)
	}
	if err := f.note(ctx); err != nil {
		return heard{}, err
	}
	said, err := f.rt.call(ctx, p, http.MethodPost, jobsPath, "", h, f.body, jobPatience)
	said.noted = true
	return said, err
}
