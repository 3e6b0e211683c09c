package router

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
)

func boom(w http.ResponseWriter, r *http.Request, streams bool) {
	status(500, `{"error":{"message":"boom"}}`)(w, r, streams)
}

func TestTwoFailuresExcludeFor30SecondsThenOneProbe(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		bad := w.prefer(0)
		bad.answers(boom)
		ask := func() {
			t.Helper()
			if got := w.chat(askWhole); got.status != 200 {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
		}
		for range 5 {
			ask()
		}
		if got := bad.count(); got != 2 {
			t.Errorf("asked %d times at first, want 2", got)
		}
		time.Sleep(exclusion - time.Second)
		ask()
		if got := bad.count(); got != 2 {
			t.Errorf("asked during its exclusion: %d times", got)
		}
		time.Sleep(time.Second)
		ask() // the probe, which fails
		ask()
		if got := bad.count(); got != 3 {
			t.Errorf("asked %d times after 30 s, want one probe more", got)
		}
		time.Sleep(exclusion)
		bad.change(func() { bad.answer = bad.good })
		ask() // the probe, which succeeds
		ask()
		if got := bad.count(); got != 5 {
			t.Errorf("asked %d times, want that a probe brought it back", got)
		}
	})
}

// A model that does not fit into memory is no reason to leave out the others of
// its machine.
func TestAFailingModelDoesNotExcludeTheOthersOfItsPeer(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		only := w.workers[0]
		only.change(func() {
			only.capacity.Models = []string{"m", "big"}
			only.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				if strings.Contains(string(body), `"big"`) {
					boom(rw, r, false)
					return
				}
				only.good(rw, r, body)
			}
		})
		w.repoll()
		askBig := strings.Replace(askWhole, `"m"`, `"big"`, 1)
		for range 2 {
			if got := w.chat(askBig); got.status != 502 {
				t.Fatalf("status %d, want 502: %s", got.status, got.body)
			}
		}
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("the other model: %d %s", got.status, got.body)
		}
		if got := w.chat(askBig); got.status != 503 || !strings.Contains(got.body, "w1 is excluded (500 boom)") || got.header.Get("Retry-After") != "5" {
			t.Errorf("the failing model: %d %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
		}
		var peers []listedPeer
		if err := json.Unmarshal([]byte(w.get("/peers").body), &peers); err != nil || len(peers) != 1 {
			t.Fatalf("%d peers, %v", len(peers), err)
		}
		if s := peers[0].State; s.Status != "ready" || !slices.Equal(s.Failing, []string{"big"}) || s.LastError != "big: 500 boom" {
			t.Errorf("the peer is shown as %+v", s)
		}
		time.Sleep(lastExclusion)
		only.change(func() { only.answer = only.good })
		if got := w.chat(askBig); got.status != 200 {
			t.Errorf("the probe: %d %s", got.status, got.body)
		}
		if got := w.chat(askBig); got.status != 200 || w.rt.roster.current.Load().peers[0].ailing.of("big") != nil {
			t.Errorf("after the probe: %d %s", got.status, got.body)
		}
	})
}

// What a peer's engine says ends with the model; a peer that does not answer at
// all is left out with all its models.
func TestAPeerThatDoesNotAnswerIsExcludedWithAllItsModels(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		first := w.workers[0]
		first.change(func() { first.capacity.Models, first.capacity.Tier = []string{"m", "n"}, grid.Interactive })
		w.repoll()
		first.answers(func(http.ResponseWriter, *http.Request, bool) { panic(http.ErrAbortHandler) })
		for range 2 {
			w.chat(askWhole)
		}
		before := first.count()
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"n"`, 1)); got.status != 503 || first.count() != before {
			t.Errorf("its other model: %d %s, asked %d times, want %d", got.status, got.body, first.count(), before)
		}
	})
}

func TestManyFailingModelsAreForgotten(t *testing.T) {
	t.Parallel()
	var a ailing
	now := time.Now()
	for i := range 3*maxAiling + 1 {
		a.failed(fmt.Sprint("m", i), now, "no")
		if len(a.models) > maxAiling {
			t.Fatalf("%d models are remembered, want at most %d", len(a.models), maxAiling)
		}
	}
	last := fmt.Sprint("m", 3*maxAiling)
	if a.failed(last, now, "again"); a.of(last).ready(now, false) {
		t.Error("the latest failure is forgotten")
	}
}

func TestProbeIsOneAtATime(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		bad := w.prefer(0)
		bad.answers(boom)
		w.chat(askWhole)
		w.chat(askWhole)
		time.Sleep(exclusion)
		bad.answers(func(_ http.ResponseWriter, r *http.Request, _ bool) { <-r.Context().Done() })
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { w.chat(askWhole) })
		}
		synctest.Wait()
		if got := bad.count(); got != 3 {
			t.Errorf("%d requests reached the excluded peer, want one probe after two failures", got)
		}
		wg.Wait()
	})
}

// Who repaired the only worker should not have to wait half a minute.
func TestLastPeerOfAModelMayBeProbedEarly(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		only := w.workers[0]
		only.answers(boom)
		for range 2 {
			if got := w.chat(askWhole); got.status != 502 {
				t.Fatalf("status %d, want 502", got.status)
			}
		}
		got := w.chat(askWhole)
		if _, kind := got.message(); got.status != 503 || kind != "no_capable_peer" || got.header.Get("Retry-After") != "5" {
			t.Errorf("got %d %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
		}
		if !strings.Contains(got.body, "w1 is excluded (500 boom)") {
			t.Errorf("%s does not say why", got.body)
		}
		only.change(func() { only.answer = only.good })
		time.Sleep(lastExclusion)
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("after %s: %d %s", lastExclusion, got.status, got.body)
		}
	})
}

// A machine that is back should be asked again as soon as the others fail, not
// when its next poll happens to be due.
func TestLostPeersAreLookedForWhenTheOthersFail(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		back, bad := w.workers[0], w.workers[1]
		back.setDark(true)
		back.way.CloseIdleConnections()
		time.Sleep(10 * w.rt.Timeouts.Poll)
		synctest.Wait()
		back.setDark(false)
		bad.answers(boom)
		if got := w.chat(askWhole); got.status != 502 {
			t.Fatalf("status %d, want 502 while one is lost and the other fails: %s", got.status, got.body)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("2 s after the lost peer came back: %d %s", got.status, got.body)
		}
	})
}

// After a restart of the router nobody knows what a machine has that is away;
// that its models do not exist would be wrong, and clients would not ask again.
func TestAModelMayBeAtAPeerThatWasNeverReached(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		away := w.addWorker(9)
		away.setDark(true)
		away.change(func() { away.capacity.Models = []string{"x"} })
		time.Sleep(10 * w.rt.Timeouts.Poll)
		synctest.Wait()
		askX := strings.Replace(askWhole, `"m"`, `"x"`, 1)
		got := w.chat(askX)
		if _, kind := got.message(); got.status != 503 || kind != "no_capable_peer" || got.header.Get("Retry-After") != "2" {
			t.Errorf("got %d %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
		}
		if !strings.Contains(got.body, "not reached yet: w9 is unreachable (") {
			t.Errorf("%s does not say who may have it", got.body)
		}
		away.setDark(false)
		w.chat(askX) // it is looked for
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := w.chat(askX); got.status != 200 {
			t.Errorf("2 s after it came back: %d %s", got.status, got.body)
		}
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"y"`, 1)); got.status != 404 {
			t.Errorf("a model that nobody has, all being there: %d %s", got.status, got.body)
		}
		away.change(func() { away.closed = true })
		closed := w.addWorker(10)
		closed.change(func() { closed.closed = true })
		time.Sleep(10 * w.rt.Timeouts.Poll)
		synctest.Wait()
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"y"`, 1)); got.status != 404 {
			t.Errorf("beside one that lets us not in: %d %s", got.status, got.body)
		}
	})
}

func TestSuccessBetweenFailuresResets(t *testing.T) {
	t.Parallel()
	var h health
	now := time.Now()
	h.failed(now, "a")
	h.succeeded()
	h.failed(now, "b")
	if !h.ready(now, false) {
		t.Error("excluded after failures that were not in a row")
	}
	h.failed(now, "c")
	if h.ready(now, false) {
		t.Error("not excluded after two failures in a row")
	}
}

// The original asks dead peers for their capacity on the request's path, up to
// 2 s each.
func TestDeadPeersCostNoTimeOnTheRequestsPath(t *testing.T) {
	t.Parallel()
	inWorld(t, 4, nil, func(t *testing.T, w *world) {
		for _, f := range w.workers[:3] {
			f.listener.Close() // dials are refused
			f.way.CloseIdleConnections()
		}
		time.Sleep(2 * w.rt.Timeouts.Poll)
		synctest.Wait()
		polls := w.workers[3].polls
		begin := time.Now()
		for range 10 {
			if got := w.chat(askWhole); got.status != 200 {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("ten requests took %s of virtual time, want none", took)
		}
		if w.workers[3].polls != polls {
			t.Error("a request asked for a capacity")
		}
	})
}

func TestCapacityIsPolledInTheBackgroundAtLeastEvery30Seconds(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		f := w.workers[0]
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.polls < 21 || f.polls > 28 { // the pause is 22.5 to 30 s
			t.Errorf("%d polls in ten minutes, want 21 to 28", f.polls)
		}
	})
}

// The original answers 500 to everybody when one peer's capacity lacks models.
func TestBadCapacityAnswersHurtNobody(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no models":     `{"pubkey":%q,"queueDepth":0}`,
		"not JSON":      `<html>%.0q`,
		"another key":   `{"pubkey":"lob1` + strings.Repeat("ab", 32) + `","models":["m"]%.0q}`,
		"too large":     `{"pubkey":%q,"models":["` + strings.Repeat("x", grid.MaxCapacityBytes) + `"]}`,
		"negative":      `{"pubkey":%q,"models":["m"],"queueDepth":-5}`,
		"control bytes": `{"pubkey":%q,"models":["a\u0000b"]}`,
		"null":          `null%.0q`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, nil, func(t *testing.T, w *world) {
				hostile := w.addWorker(2)
				hostile.change(func() { hostile.said = fmt.Sprintf(body, hostile.pair.ID()) })
				w.repoll()
				if got := w.chat(askWhole); got.status != 200 || got.header.Get(grid.PeerHeader) != w.workers[0].peer.ID.String() {
					t.Errorf("got %d by %s: %.200s", got.status, got.header.Get(grid.PeerHeader), got.body)
				}
				var page struct{ Data []struct{ ID string } }
				if json.Unmarshal([]byte(w.get("/v1/models").body), &page); len(page.Data) != 1 {
					t.Errorf("the models are %v, want those of the honest peer", page.Data)
				}
				if hostile.count() != 0 {
					t.Error("the hostile peer was asked")
				}
				if peers := w.get("/peers").body; !strings.Contains(peers, `"lastError":"`) {
					t.Errorf("/peers does not say what is wrong: %s", peers)
				}
			})
		})
	}
}

// A machine that works hard may be slow to tell its capacity.
func TestSlowPollOfAPeerAtWorkIsNoLoss(t *testing.T) {
	t.Parallel()
	for _, works := range []bool{true, false} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			f := w.workers[0]
			f.answers(after(5*time.Minute, text("", wholeAnswer)))
			f.change(func() { f.stuck = true })
			done := make(chan struct{})
			go func() {
				defer close(done)
				if works {
					w.chat(askWhole)
				}
			}()
			time.Sleep(4 * time.Minute)
			if lost := w.rt.roster.current.Load().peers[0].health.lost(); lost == works {
				t.Errorf("at work=%t: lost=%t", works, lost)
			}
			<-done
		})
	}
}

func TestPeerThatNeverToldIsNotCalledReady(t *testing.T) {
	t.Parallel()
	inWorld(t, 0, nil, func(t *testing.T, w *world) {
		w.addWorker(1)
		w.workers[0].setDark(true)
		got := w.chat(askWhole)
		if got.status != 503 || strings.Contains(got.body, "is ready") || !strings.Contains(got.body, "w1 is un") {
			t.Errorf("got %d %s, want 503 that calls the peer neither ready nor known", got.status, got.body)
		}
	})
}

// A peer that is there and does not let us in is told from one that is away.
func TestClosedPeers(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		status := func(want, why string) {
			t.Helper()
			time.Sleep(2 * time.Minute)
			var peers []struct{ State peerState }
			if err := json.Unmarshal([]byte(w.get("/peers").body), &peers); err != nil || len(peers) != 1 {
				t.Fatalf("%+v, %v", peers, err)
			}
			if s := peers[0].State; s.Status != want || !strings.Contains(s.LastError, why) {
				t.Errorf("it is %s (%s); want %s (%s)", s.Status, s.LastError, want, why)
			}
		}
		status("ready", "")
		f.change(func() { f.closed = true })
		status("closed", "ask my owner")
		f.setDark(true)
		f.way.CloseIdleConnections()
		status("unreachable", "connection refused")
		f.setDark(false)
		f.change(func() { f.closed = false })
		status("ready", "")
	})
}
