package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

// Results and receipts are delivered however late they are fetched, the bytes
// as they were; then they are forgotten.
func TestLateFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, answers, nil)
		defer s.close()
		s.running(func() {
			id := s.submit(ann, "m")
			synctest.Wait()
			for _, late := range []time.Duration{10 * time.Minute, 23 * time.Hour} {
				time.Sleep(late)
				status, record := s.get(ann, id)
				if status != 200 || record.Status != "done" || string(record.Result) != `{"model":"m","text":"<&>\u2028"}` {
					t.Fatalf("%s later: %d %+v", late, status, record)
				}
				signed, err := receipt.Open(record.Receipt)
				if err != nil || signed.JobID != id {
					t.Errorf("%s later, the receipt: %v", late, err)
				}
			}
			time.Sleep(time.Hour + time.Minute)
			if status, _ := s.get(ann, id); status != 404 {
				t.Errorf("a day after it was first fetched: %d; want 404", status)
			}
			if n := s.book.receipts(t); n != 1 {
				t.Errorf("%d receipts, which stay; want 1", n)
			}
			unfetched := s.submit(ann, "m")
			time.Sleep(6 * 24 * time.Hour)
			if status, record := s.get(ann, unfetched); status != 200 || len(record.Result) == 0 {
				t.Errorf("never fetched, six days later: %d", status)
			}
		})
	})
}

// A job that waits says why, over restarts, until it is begun; what it waited
// for is no error of its answer.
func TestJobSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ready atomic.Bool
		s := newShop(t, func(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
			if !ready.Load() {
				return &openai.Error{Status: 503, Type: "no_capable_peer", Message: "mini is away", RetryAfter: time.Minute}, true
			}
			return answers(ctx, o, log)
		}, nil)
		defer s.close()
		s.backend.waits = "mini was not reached yet"
		status, record := s.do(ann, "POST", Path, `{"model":"m","messages":[]}`)
		if status != 202 || record.Status != "queued" || record.Waiting != "mini was not reached yet" {
			t.Fatalf("submitted: %d %+v", status, record)
		}
		id := record.ID
		waits := func(want string) {
			t.Helper()
			if _, r := s.get(ann, id); r.Status != "queued" || r.Waiting != want || r.Error != nil {
				t.Errorf("%+v; want that it waits since %s", r, want)
			}
		}
		waits("mini was not reached yet")
		s.running(func() {
			synctest.Wait()
			waits("mini is away")
		})
		s.Service = s.another(nil)
		waits("mini is away")
		ready.Store(true)
		s.running(func() {
			time.Sleep(2 * time.Minute)
			if _, r := s.get(ann, id); r.Status != "done" || r.Waiting != "" || r.Error != nil {
				t.Errorf("answered: %+v", r)
			}
		})
	})
}

// Who submitted a job may know of it; to everybody else there is none.
func TestWhoMayKnow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		owner string
		asker grid.Asker
		want  bool
	}{
		{ann, grid.Asker{Owner: ann}, true},
		{ann, grid.Asker{Owner: ben}, false},
		{ann, grid.Asker{Bearer: true}, false},
		{ann, grid.Asker{Owner: "local", Bearer: true}, false},
		{"local", grid.Asker{Owner: "local", Bearer: true}, true},
		{"local", grid.Asker{Owner: ann}, false},
		{"legacy " + ann, grid.Asker{Bearer: true}, true},
		{"legacy " + ann, grid.Asker{Owner: ben}, false},
		{"", grid.Asker{Bearer: true}, true},
		{"", grid.Asker{}, false},
		{"key a", grid.Asker{Owner: "key a"}, true},
		{"key a", grid.Asker{Owner: "key b"}, false},
	} {
		if got := mayKnow(test.asker, test.owner); got != test.want {
			t.Errorf("a job of %q, asked by %+v: %t; want %t", test.owner, test.asker, got, test.want)
		}
	}
}

func TestOthersSeeNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, answers, nil)
	defer s.close()
	mine, theirs := s.submit(ann, "m"), s.submit(ben, "m")
	for _, test := range []struct {
		method, path, owner string
		want                int
	}{
		{"GET", "/" + mine, ann, 200},
		{"GET", "/" + mine, ben, 404},
		{"GET", "/" + mine, "", 404},
		{"GET", "/" + mine[:35], ann, 404},
		{"GET", "/" + strings.ToUpper(mine), ann, 404},
		{"GET", "/", ann, 404},
		{"GET", "/" + strings.Repeat("x", 5000), ann, 404},
		{"DELETE", "/" + mine, ben, 404},
		{"DELETE", "/x", ann, 404},
		{"GET", "", "", 401},
		{"GET", "?after=" + theirs, ann, 404},
		{"PUT", "", ann, 405},
		{"POST", "/" + mine, ann, 405},
		{"DELETE", "", ann, 405},
	} {
		if got, _ := s.do(test.owner, test.method, Path+test.path, ""); got != test.want {
			t.Errorf("%s %.60s by %.12s: %d; want %d", test.method, test.path, test.owner, got, test.want)
		}
	}
	if _, record := s.get(ann, mine); record.Status != "queued" {
		t.Errorf("others changed it: %+v", record)
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	s := newShop(t, answers, nil)
	defer s.close()
	var ids []string
	for n := range 7 {
		ids = append(ids, s.submit(ann, fmt.Sprint("m", n)))
		s.submit(ben, "m")
	}
	if status, _ := s.do(ann, "DELETE", Path+"/"+ids[2], ""); status != 200 {
		t.Fatal(status)
	}
	slices.Reverse(ids)
	pageOf := func(query string) (page listing) {
		r := httptest.NewRequest("GET", Path+query, nil)
		r.Header.Set("X-Owner", ann)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		return page
	}
	var seen []string
	after := ""
	for {
		p := pageOf("?limit=3" + after)
		for _, j := range p.Data {
			seen = append(seen, j.ID)
		}
		if !p.HasMore {
			break
		}
		after = "&after=" + p.LastID
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("listed %v; want %v", seen, ids)
	}
	if p := pageOf("?status=error"); len(p.Data) != 1 || p.Data[0].ID != ids[4] || p.Data[0].Error == nil {
		t.Errorf("with status error: %+v", p)
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?status=lost", "/" + ids[0] + "?wait=x", "/" + ids[0] + "?wait=-1"} {
		if got, _ := s.do(ann, "GET", Path+query, ""); got != 400 {
			t.Errorf("%s: %d; want 400", query, got)
		}
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	s := newShop(t, answers, nil)
	defer s.close()
	body := `{"model":"m","messages":[]}`
	_, first := s.do(ann, "POST", Path, body, grid.IdempotencyHeader, "k")
	s.backend.refuse = &openai.Error{Status: 402, Type: "insufficient_credit", Message: "none left"}
	for _, test := range []struct {
		name, owner, body, key string
		want                   int
		same                   bool
	}{
		{"again, though nothing new is accepted", ann, body, "k", 202, true},
		{"another body", ann, `{"model":"m","messages":[1]}`, "k", 409, false},
		{"another key", ann, body, "l", 402, false},
		{"another owner", ben, body, "k", 402, false},
		{"nobody in particular", "", body, "k", 400, false},
		{"a long key", ann, body, strings.Repeat("k", 256), 400, false},
	} {
		status, record := s.do(test.owner, "POST", Path, test.body, grid.IdempotencyHeader, test.key)
		if status != test.want || (record.ID == first.ID) != test.same {
			t.Errorf("%s: %d %+v; want %d", test.name, status, record, test.want)
		}
	}
	if c, err := s.Counts(t.Context()); err != nil || c != (grid.JobCounts{Queued: 1}) {
		t.Errorf("%+v, %v; want one job", c, err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := newShop(t, answers, func(c *Config) {
		c.MaxBody, c.Quota = 4000, Quota{Open: 3, Bytes: 9000, All: 5}
	})
	defer s.close()
	pairs := func(n int, name, value string) string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(name, i)] = value
		}
		text, _ := json.Marshal(m)
		return `{"model":"m","messages":[],"metadata":` + string(text) + `}`
	}
	for _, test := range []struct {
		name, owner, body string
		want              int
	}{
		{"16 notes", ann, pairs(16, "n", "v"), 202},
		{"17 notes", ann, pairs(17, "n", "v"), 400},
		{"a long name", ann, pairs(1, strings.Repeat("n", 64), "v"), 400},
		{"a long value", ann, pairs(1, "n", strings.Repeat("v", 513)), 400},
		{"a note that is a number", ann, `{"model":"m","messages":[],"metadata":{"n":1}}`, 400},
		{"a note that is null", ann, `{"model":"m","messages":[],"metadata":{"n":null}}`, 400},
		{"notes that are a list", ann, `{"model":"m","messages":[],"metadata":[]}`, 400},
		{"no notes", ann, `{"model":"m","messages":[],"metadata":null}`, 202},
		{"a large body", ann, `{"model":"m","messages":["` + strings.Repeat("x", 4000) + `"]}`, 413},
		{"too many bytes", ann, `{"model":"m","messages":["` + strings.Repeat("x", 3900) + `"]}`, 202},
		{"one too many", ann, `{"model":"m","messages":[]}`, 429},
		{"another's first", ben, `{"model":"m","messages":["` + strings.Repeat("x", 3900) + `"]}`, 202},
		{"another's second", ben, `{"model":"m","messages":["` + strings.Repeat("x", 3900) + `"]}`, 202},
		{"more than everybody's", "local", `{"model":"m","messages":[]}`, 429},
	} {
		if status, record := s.do(test.owner, "POST", Path, test.body); status != test.want {
			t.Errorf("%s: %d %+v; want %d", test.name, status, record.Error, test.want)
		}
	}
	s.Quota = Quota{Bytes: 9000}
	if status, record := s.do(ben, "POST", Path, `{"model":"m","messages":["`+strings.Repeat("x", 3900)+`"]}`); status != 429 || record.Error.Code != "job_quota" {
		t.Errorf("beyond the bytes: %d %+v; want 429", status, record.Error)
	}
}

// Tiers come first, then purses in turns, then age.
func TestOrderOfClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tier grid.Tier
		want string
	}{
		{grid.BestEffort, "i1 a1 b1 c1 a2 b2 a3 a4 e1"},
		{grid.Batch, "a1 b1 c1 a2 b2 a3 a4 i1 e1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, answers, func(c *Config) { c.Tier = test.tier })
			defer s.close()
			s.submit(ann, "e1", grid.TierHeader, "best-effort")
			for _, name := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
				s.submit("local "+name[:1], name)
			}
			s.submit(ann, "i1", grid.TierHeader, "interactive")
			s.running(func() {
				time.Sleep(time.Second)
			})
			if got := s.backend.order(); got != test.want {
				t.Errorf("%s: ran %s; want %s", test.tier, got, test.want)
			}
		})
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	s := newShop(t, answers, nil)
	defer s.close()
	ids := map[string]string{}
	for _, name := range []string{"a1", "a2", "b1"} {
		ids[name] = s.submit("local "+name[:1], name)
	}
	for name, want := range map[string]int{"a1": 1, "b1": 2, "a2": 3} {
		if _, record := s.get("local "+name[:1], ids[name]); record.Position != want {
			t.Errorf("%s: position %d; want %d", name, record.Position, want)
		}
	}
}

// A crash is a lease that ends: the job runs again, its first run comes to
// nothing, and it is billed once.
func TestCrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, answers, nil)
		defer s.close()
		id := s.submit(ann, "m")
		gone := s.another(nil) // it claims the job and is never heard of again
		j, err := gone.store.claim(t.Context(), gone.Holder, time.Now(), time.Now().Add(gone.Lease), gone.order)
		if err != nil {
			t.Fatal(err)
		}
		s.running(func() {
			synctest.Wait()
			if _, record := s.get(ann, id); record.Status != "done" {
				t.Errorf("after the restart: %+v", record)
			}
			late := &jobLog{service: gone, job: j, release: func() {}}
			if err := late.Done(t.Context(), []byte(`{}`), signed(j.Order)); !errors.Is(err, ErrNotHeld) {
				t.Errorf("the first run finished too: %v", err)
			}
			if err := late.Note(t.Context(), []byte(`{}`)); !errors.Is(err, ErrNotHeld) {
				t.Errorf("the first run takes notes: %v", err)
			}
		})
		if n := s.book.receipts(t); n != 1 {
			t.Errorf("%d receipts; want 1", n)
		}
	})
}

// A process that is alive but silent loses its jobs when the lease ends, not
// before.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, answers, nil)
		defer s.close()
		s.running(func() {
			synctest.Wait()
			silent := s.another(nil)
			j := &Job{Order: grid.Order{ID: "x", Owner: ann, Model: "m", Tier: grid.Batch, Body: []byte(`{}`), Seal: []byte(`{}`)},
				State: State{Status: Queued, Created: time.Now(), Due: time.Now(), Expires: time.Now().Add(time.Hour)}}
			if _, _, err := silent.store.submit(t.Context(), j, nil, false, Quota{}); err != nil {
				t.Fatal(err)
			}
			if _, err := silent.store.claim(t.Context(), silent.Holder, time.Now(), time.Now().Add(90*time.Second), silent.order); err != nil {
				t.Fatal(err)
			}
			time.Sleep(80 * time.Second)
			if got := s.backend.order(); got != "" {
				t.Errorf("it ran before the lease ended: %s", got)
			}
			time.Sleep(sweepEvery)
			if _, record := s.get(ann, "x"); record.Status != "done" {
				t.Errorf("after the lease: %+v", record)
			}
		})
	})
}

// Long jobs keep their lease, and a stop gives them back to be run again.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, hangs, nil)
		defer s.close()
		id := s.submit(ann, "m")
		for range 5 { // more often than crashes are forgiven
			s.running(func() {
				time.Sleep(10 * time.Minute)
				if _, record := s.get(ann, id); record.Status != "running" {
					t.Errorf("while it runs: %+v", record)
				}
			})
			time.Sleep(2 * time.Second)
		}
		s.backend.do = answers
		s.running(func() { time.Sleep(time.Minute) })
		if _, record := s.get(ann, id); record.Status != "done" {
			t.Errorf("in the end: %+v", record)
		}
	})
}

// What the file does not take is tried again; neither answer nor receipt is
// lost or doubled.
func TestFailingFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, nil, nil)
		defer s.close()
		s.backend.do = func(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
			if err := log.Begun(ctx, time.Now()); err != nil {
				return nil, true
			}
			s.book.mu.Lock()
			s.book.fail = 4
			s.book.mu.Unlock()
			return nil, log.Done(ctx, []byte(`{}`), signed(o)) != nil
		}
		s.running(func() {
			id := s.submit(ann, "m")
			time.Sleep(time.Minute)
			if _, record := s.get(ann, id); record.Status != "done" {
				t.Errorf("%+v", record)
			}
		})
		if n := s.book.receipts(t); n != 1 || s.backend.order() != "m" {
			t.Errorf("%d receipts, ran %q; want one of each", n, s.backend.order())
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, hangs, nil)
		defer s.close()
		s.running(func() {
			running, queued := s.submit(ann, "r"), s.submit(ann, "q")
			synctest.Wait()
			for _, id := range []string{queued, running} {
				status, record := s.do(ann, "DELETE", Path+"/"+id, "")
				if status != 200 || record.ID != id || record.Status != "error" || record.Error.Type != "cancelled" {
					t.Errorf("cancel: %d %+v", status, record)
				}
				if status, _ := s.do(ann, "DELETE", Path+"/"+id, ""); status != 409 {
					t.Errorf("cancel again: %d", status)
				}
			}
			if got := s.backend.order(); got != "r" {
				t.Errorf("ran %q; want r alone", got)
			}
		})
		if n := s.book.receipts(t); n != 0 {
			t.Errorf("%d receipts for nothing", n)
		}
	})
}

// A wish to cancel that comes after a job was claimed and before it is known to
// run is not lost.
func TestCancelOfAJobThatIsBeingClaimed(t *testing.T) {
	t.Parallel()
	s := newShop(t, hangs, nil)
	defer s.close()
	id := s.submit(ann, "m")
	claimed, wished := make(chan struct{}), make(chan struct{})
	var writes atomic.Int32
	s.book.wrote = func() {
		if writes.Add(1) == 1 {
			close(claimed)
			<-wished
		}
	}
	s.running(func() {
		<-claimed
		// What DELETE does, as far as it comes before the claim returns.
		j, err := s.store.find(t.Context(), id)
		if err == nil {
			_, err = s.store.change(t.Context(), j.Seq, func(st State) (State, error) { return st.WishCancel(s.Now(), s.Lives) })
		}
		s.stop(id)
		close(wished)
		if err != nil || j.Status != Running {
			t.Fatalf("claimed: %+v, %v", j, err)
		}
		if _, record := s.do(ann, "GET", Path+"/"+id+"?wait=25", ""); record.Status != "error" || record.Error.Type != "cancelled" {
			t.Errorf("after the wish: %+v", record)
		}
	})
}

// Who has a job and cannot be reached is told later; the client is told so.
func TestCancelUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, nil, nil)
		defer s.close()
		var mu sync.Mutex
		reachable := false
		s.backend.do = func(ctx context.Context, _ grid.Order, log grid.JobLog) (*openai.Error, bool) {
			if log.Noted() == nil {
				if err := log.Note(ctx, []byte(`{"peer":"x"}`)); err != nil {
					return nil, true
				}
			}
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			if !reachable {
				return &openai.Error{Status: 502, Type: "peer_unreachable", Message: "gone", RetryAfter: 10 * time.Second}, true
			}
			return &openai.Error{Type: "cancelled", Message: "told"}, false
		}
		s.running(func() {
			id := s.submit(ann, "m")
			synctest.Wait()
			if status, record := s.do(ann, "DELETE", Path+"/"+id, ""); status != 502 || record.Error.Type != "peer_unreachable" {
				t.Errorf("unreachable: %d %+v", status, record)
			}
			mu.Lock()
			reachable = true
			mu.Unlock()
			time.Sleep(time.Minute)
			if _, record := s.get(ann, id); record.Status != "error" || record.Error.Type != "cancelled" {
				t.Errorf("later: %+v", record)
			}
		})
	})
}

// A temporary failure is no end: the job is tried again until its time is over.
func TestAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, func(context.Context, grid.Order, grid.JobLog) (*openai.Error, bool) {
			return &openai.Error{Status: 503, Type: "unavailable", Message: "later", RetryAfter: time.Minute}, true
		}, func(c *Config) { c.Lives.Open = time.Hour })
		defer s.close()
		s.running(func() {
			id := s.submit(ann, "m")
			time.Sleep(10*time.Minute + time.Second)
			if got := len(strings.Fields(s.backend.order())); got < 10 || got > 12 {
				t.Errorf("tried %d times in ten minutes; want one a minute", got)
			}
			if _, record := s.get(ann, id); record.Status != "queued" {
				t.Errorf("meanwhile: %+v", record)
			}
			time.Sleep(time.Hour)
			if _, record := s.get(ann, id); record.Status != "error" || record.Error.Type != "expired" {
				t.Errorf("after its time: %+v", record)
			}
		})
	})
}

// ?wait= holds the answer back until the job is as its client wants to know.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		s := newShop(t, func(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
			time.Sleep(5 * time.Second)
			if log.Begun(ctx, time.Now()) != nil {
				return nil, true
			}
			<-open
			return nil, log.Done(ctx, []byte(`{}`), signed(o)) != nil
		}, nil)
		defer s.close()
		s.running(func() {
			id := s.submit(ann, "m")
			for _, step := range []struct {
				wait   string
				before func()
				took   time.Duration
				want   string
			}{
				{"2", nil, 2 * time.Second, "queued"},
				{"60&seen=running", nil, 0, "queued"}, // it was something else when it was seen
				{"60", nil, 3 * time.Second, "running"},
				{"60&seen=queued", nil, 0, "running"},
				{"7", nil, 7 * time.Second, "running"},
				{"3600", nil, time.Minute, "running"},
				{"60", func() { close(open) }, 0, "done"},
				{"60", nil, 0, "done"},
			} {
				if step.before != nil {
					step.before()
				}
				start := time.Now()
				_, record := s.do(ann, "GET", Path+"/"+id+"?wait="+step.wait, "")
				if took := time.Since(start); record.Status != step.want || took != step.took {
					t.Errorf("wait %s: %s after %s; want %s after %s", step.wait, record.Status, took, step.want, step.took)
				}
			}
		})
		s.running(func() {
			id := s.submit(ann, "m") // whose answer takes 5 s
			time.AfterFunc(time.Second, s.Hurry)
			start := time.Now()
			if _, record := s.do(ann, "GET", Path+"/"+id+"?wait=60", ""); record.Status != "queued" || time.Since(start) != time.Second {
				t.Errorf("in a hurry: %s after %s", record.Status, time.Since(start))
			}
		})
		if s.hub.n != 0 || len(s.hub.waiting) != 0 {
			t.Errorf("%d wait for nothing", s.hub.n)
		}
	})
}

// A job that ends the program each time is given up.
func TestPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, answers, nil)
		defer s.close()
		id := s.submit(ann, "m")
		for range maxCrashes {
			crashing := s.another(nil)
			crashing.takeOver(t.Context())
			_, err := crashing.store.claim(t.Context(), crashing.Holder, time.Now(), time.Now().Add(time.Minute), crashing.order)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		s.running(func() { time.Sleep(time.Second) })
		if _, record := s.get(ann, id); record.Status != "error" || record.Error.Type != "crashed" || s.backend.order() != "" {
			t.Errorf("%+v, ran %q", record, s.backend.order())
		}
	})
}

// The tallies that limits go by are what counting would give, whatever happens.
func TestTallies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, answers, nil)
		defer s.close()
		check := func(when string, want int) {
			t.Helper()
			const tallied = `SELECT coalesce(sum(open), 0), coalesce(sum(bytes), 0), count(*) FROM job_tally`
			const counted = `SELECT coalesce(sum(status <= 2), 0), coalesce(sum(bytes), 0), count(DISTINCT purse) FROM job`
			var a, b [3]int
			for query, out := range map[string]*[3]int{tallied: &a, counted: &b} {
				if err := s.book.Reading().QueryRowContext(t.Context(), query).Scan(&out[0], &out[1], &out[2]); err != nil {
					t.Fatal(err)
				}
			}
			if a != b || a[0] != want {
				t.Errorf("%s: tallied %v, counted %v; want %d open", when, a, b, want)
			}
		}
		ids := []string{s.submit(ann, "m"), s.submit(ann, "m"), s.submit(ben, "m")}
		check("submitted", 3)
		s.do(ann, "DELETE", Path+"/"+ids[0], "")
		check("cancelled", 2)
		s.running(func() {
			time.Sleep(time.Second)
			check("done", 0)
			time.Sleep(8 * 24 * time.Hour)
		})
		check("collected", 0)
	})
}

func FuzzRequests(f *testing.F) {
	f.Add("POST", "/v1/jobs", `{"model":"m","messages":[],"metadata":{"a":"b"}}`, "k")
	f.Add("GET", "/v1/jobs?limit=3&after=x&status=done", "", "")
	f.Add("GET", "/v1/jobs/00000000-0000-4000-8000-000000000000?wait=0", "", "")
	f.Add("DELETE", "/v1/jobs/%00", "", "")
	s := newShop(f, answers, nil)
	f.Cleanup(s.close)
	f.Fuzz(func(t *testing.T, method, target, body, once string) {
		if !strings.HasPrefix(target, "/") || strings.Contains(target, "wait=") && !strings.HasSuffix(target, "wait=0") {
			t.Skip()
		}
		r, err := parseRequest(method, target, body)
		if err != nil {
			t.Skip()
		}
		r.Header.Set("X-Owner", ann)
		r.Header.Set(grid.IdempotencyHeader, once)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) || w.Code < 200 || w.Code == 500 || w.Code == 503 {
			t.Errorf("%s %q %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}
