package batch

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			if r.Header.Get("X-Lobstah-Tier") != "batch" || r.Header.Get("Authorization") != "Bearer k" {
				t.Errorf("headers %v", r.Header)
			}
			if content == "1" {
				refuse(w, 400, 0, "too long")
				return
			}
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Header: http.Header{"Authorization": {"Bearer k"}}})
		input := b.upload(chat(3))
		created := b.create(input)
		if created.Status != Validating || created.Object != "batch" || created.ExpiresAt-created.CreatedAt != 86400 {
			t.Errorf("created as %+v", created)
		}
		got := b.await(created.ID)
		if got.Status != Completed || got.RequestCounts != (Counts{3, 2, 1}) || got.Model == nil || *got.Model != "m" {
			t.Errorf("ended as %+v", got)
		}
		if u := got.Usage; u.InputTokens != 6 || u.OutputTokens != 4 || u.TotalTokens != 10 ||
			u.InputTokensDetails.CachedTokens != 2 || u.OutputTokensDetails.ReasoningTokens != 2 {
			t.Errorf("usage %+v", u)
		}
		if got.InProgressAt == nil || got.FinalizingAt == nil || got.CompletedAt == nil || got.CancelledAt != nil || got.FailedAt != nil || got.Errors != nil {
			t.Errorf("times %+v", got)
		}
		output, errs := b.results(got.OutputFileID), b.results(got.ErrorFileID)
		if len(output) != 2 || string(output["line-0"].Response.Body) != okAnswer || output["line-0"].Response.RequestID != "req_1" || output["line-0"].Error != nil {
			t.Errorf("output %+v", output)
		}
		failed, ok := errs["line-1"]
		if !ok || len(errs) != 1 || failed.Response.StatusCode != 400 || failed.Error != nil || !strings.Contains(string(failed.Response.Body), "too long") {
			t.Errorf("errors %+v", errs)
		}
		if fake.tries("1") != 1 {
			t.Errorf("a request that is at fault itself was asked %d times", fake.tries("1"))
		}
	})
}

// slots is a pool of so many.
func slots(n int) func(string) []Peer {
	return func(string) []Peer {
		if n == 0 {
			return nil
		}
		return []Peer{{Slots: n}}
	}
}

// What the pool is short of is waited for, as long as it says.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			switch since := time.Since(began); {
			case since < time.Hour:
				refuse(w, 503, 30*time.Second, "nobody is there")
			case content == "0" && try < 200:
				ok(w)
			default:
				ok(w)
			}
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(0)})
		created := b.create(b.upload(chat(20)))
		time.Sleep(10 * time.Minute)
		if list := b.Running(); len(list) != 1 || list[0].ID != created.ID || list[0].RequestCounts.Total != 20 {
			t.Errorf("running: %+v", list)
		}
		if now := b.get(created.ID); now.Now == nil || now.Now.Waiting != "nobody is there" || now.Status != InProgress {
			t.Errorf("while nobody is there it says %+v", now.Now)
		}
		got := b.await(created.ID)
		if got.Status != Completed || got.RequestCounts != (Counts{20, 20, 0}) {
			t.Errorf("ended as %+v", got)
		}
		total := 0
		for i := range 20 {
			total += fake.tries(fmt.Sprint(i))
		}
		// A try every 30 s for an hour, then each line once.
		if total < 20+100 || total > 20+125 {
			t.Errorf("%d requests in an hour that said Retry-After: 30", total)
		}
	})
}

// A line that fails while others succeed is given up; failures that everybody
// has are the pool's.
func TestBlame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			time.Sleep(time.Second)
			if content == "3" {
				refuse(w, 500, 0, "this one breaks me")
				return
			}
			if content == "5" && try < 3 {
				refuse(w, 502, 0, "the peer fell over")
				return
			}
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(2)})
		created := b.create(b.upload(chat(400)))
		got := b.await(created.ID)
		if got.RequestCounts != (Counts{400, 399, 1}) {
			t.Errorf("counts %+v", got.RequestCounts)
		}
		if errs := b.results(got.ErrorFileID); errs["line-3"].Response == nil || errs["line-3"].Response.StatusCode != 500 {
			t.Errorf("errors %+v", errs)
		}
		if n := fake.tries("3"); n < blamedTries || n > blamedTries+1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestPoolDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			if time.Since(began) < 8*time.Hour {
				refuse(w, 502, 0, "every peer failed")
				return
			}
			ok(w)
		})
		b := newBed(t, Config{Ask: fake})
		created := b.create(b.upload(chat(100)))
		time.Sleep(8 * time.Hour)
		got := b.await(created.ID)
		if got.RequestCounts != (Counts{100, 100, 0}) {
			t.Errorf("after a night without peers: %+v", got.RequestCounts)
		}
	})
}

func TestUnknownModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			if content == "typo" || time.Since(began) < time.Minute {
				refuse(w, 404, 0, "no peer has it")
				return
			}
			ok(w)
		})
		b := newBed(t, Config{Ask: fake})
		late := b.create(b.upload(chat(50))) // known a minute later
		got := b.await(late.ID)
		if got.RequestCounts != (Counts{50, 50, 0}) {
			t.Errorf("a model that came late: %+v", got.RequestCounts)
		}
		var lines strings.Builder
		for i := range 50 {
			lines.WriteString(chatLine(fmt.Sprint(i), "nobody-has-this", "typo"))
		}
		start := time.Now()
		got = b.await(b.create(b.upload(lines.String())).ID)
		if took := time.Since(start); got.RequestCounts != (Counts{50, 0, 50}) || took < 2*time.Minute || took > 5*time.Minute {
			t.Errorf("a model that nobody has: %+v after %s", got.RequestCounts, took)
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			select {
			case <-time.After(time.Minute):
				ok(w)
			case <-r.Context().Done():
				refuse(w, 502, 0, "gone")
			}
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(3)})
		created := b.create(b.upload(chat(100)))
		time.Sleep(90 * time.Second)
		var now Batch
		if code := b.call("POST", "/v1/batches/"+created.ID+"/cancel", nil, "", &now); code != 200 || now.Status != Cancelling || now.CancellingAt == nil {
			t.Errorf("cancel: %d, %+v", code, now)
		}
		got := b.await(created.ID)
		// What was being asked is still answered: 3 in the first minute, 3 after.
		if got.Status != Cancelled || got.CancelledAt == nil || got.RequestCounts != (Counts{100, 6, 94}) {
			t.Errorf("cancelled as %+v", got)
		}
		errs := b.results(got.ErrorFileID)
		if r := errs["line-99"]; r.Response != nil || r.Error == nil || r.Error.Code != "batch_cancelled" {
			t.Errorf("line 99: %+v", r)
		}
		var e errorBody
		if code := b.call("POST", "/v1/batches/"+created.ID+"/cancel", nil, "", &e); code != 400 {
			t.Errorf("a second time: %d", code)
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			select {
			case <-time.After(361 * time.Minute): // the fourth line is at it when the window ends
				ok(w)
			case <-r.Context().Done():
				refuse(w, 502, 0, "gone")
			}
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(1)})
		created := b.create(b.upload(chat(10)))
		time.Sleep(24 * time.Hour)
		got := b.await(created.ID)
		if got.Status != Expired || got.ExpiredAt == nil || *got.ExpiredAt < got.ExpiresAt || got.RequestCounts != (Counts{10, 4, 6}) {
			t.Errorf("expired as %+v", got)
		}
		if r := b.results(got.ErrorFileID)["line-9"]; r.Error == nil || r.Error.Code != "batch_expired" {
			t.Errorf("line 9: %+v", r)
		}
	})
}

// A process that ends in the middle loses no line, and asks none that was
// answered.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answered := map[string]int{}
		var mu sync.Mutex
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			select {
			case <-time.After(time.Second):
				mu.Lock()
				answered[content]++
				mu.Unlock()
				ok(w)
			case <-r.Context().Done():
				refuse(w, 502, 0, "gone")
			}
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(4)})
		created := b.create(b.upload(chat(100)))
		for range 4 {
			time.Sleep(4500 * time.Millisecond)
			b.reopen()
		}
		got := b.await(created.ID)
		if got.Status != Completed || got.RequestCounts != (Counts{100, 100, 0}) || got.Usage.InputTokens != 300 {
			t.Errorf("ended as %+v", got)
		}
		if output := b.results(got.OutputFileID); len(output) != 100 {
			t.Errorf("%d lines of output", len(output))
		}
		for content, n := range answered {
			if n != 1 {
				t.Errorf("line %s was answered %d times", content, n)
			}
		}
		again := 0
		for _, n := range fake.asked {
			again += n - 1
		}
		if len(fake.asked) != 100 || again != 4*4 {
			t.Errorf("%d ids, %d asked again; want one id for each line and 4 in flight at each of 4 ends", len(fake.asked), again)
		}
	})
}

// A crash leaves a torn line, and may come between any two steps of the end.
func TestCrash(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, b *bed, r *batchRecord){
		"torn": func(t *testing.T, b *bed, r *batchRecord) {
			appendTo(t, b.store.outputPath(r.ID), `{"id":"batch_req_x","custom_id":"line-9","resp`)
		},
		"garbage": func(t *testing.T, b *bed, r *batchRecord) {
			appendTo(t, b.store.outputPath(r.ID), "\x00\x00\x00\n{}\n")
		},
		"damaged input": func(t *testing.T, b *bed, r *batchRecord) {
			if err := os.WriteFile(b.store.filePath(r.InputFileID), []byte(strings.Repeat("x", len(chat(10)))), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"closing": func(t *testing.T, b *bed, r *batchRecord) {
			r.ClosingAs, r.Status = Cancelled, Cancelling
			save(t, b, r)
		},
		"renamed": func(t *testing.T, b *bed, r *batchRecord) {
			r.ClosingAs, r.Status = Cancelled, Cancelling
			save(t, b, r)
			if err := os.Rename(b.store.outputPath(r.ID), b.store.filePath(r.OutputID)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
					select {
					case <-time.After(time.Second):
						ok(w)
					case <-r.Context().Done():
						refuse(w, 502, 0, "gone")
					}
				})
				b := newBed(t, Config{Ask: fake, Peers: slots(1)})
				created := b.create(b.upload(chat(10)))
				time.Sleep(2500 * time.Millisecond)
				b.cancel()
				b.done.Wait()
				r := *b.store.batch("", created.ID)
				damage(t, b, &r)
				b.open()
				got := b.await(created.ID)
				want := 10
				if r.ClosingAs != "" || name == "damaged input" {
					want = 2
				}
				if output := b.results(got.OutputFileID); len(output) != want {
					t.Errorf("%d lines of output; want %d", len(output), want)
				}
				if used, on := b.store.used, onDisk(t, b.Dir); used != on {
					t.Errorf("%d bytes are accounted for, %d are on disk", used, on)
				}
			})
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, b *bed, r *batchRecord) {
	t.Helper()
	if err := b.store.saveBatch(r); err != nil {
		t.Fatal(err)
	}
}

// onDisk sums the bytes of files and results.
func onDisk(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".json") {
			n += fileSize(path)
		}
	}
	return n
}

// Draining finishes what is being asked and nothing else.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			time.Sleep(time.Minute)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(4)})
		created := b.create(b.upload(chat(100)))
		time.Sleep(30 * time.Second)
		start := time.Now()
		if err := b.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("draining took %s; want the rest of a minute", took)
		}
		b.reopen()
		got := b.await(created.ID)
		if got.RequestCounts != (Counts{100, 100, 0}) {
			t.Errorf("counts %+v", got.RequestCounts)
		}
		for id, n := range fake.asked {
			if n != 1 {
				t.Errorf("%s was asked %d times", id, n)
			}
		}
	})
}

// worker answers so many at a time, each in a given time.
type worker struct {
	slots int
	each  time.Duration
	free  chan struct{}
	did   int
}

// Workers of different speed are all kept busy: the whole takes as long as
// their summed speed says, though their speeds are 8 to 1. The end does not
// wait for the slowest.
func TestWorkPulling(t *testing.T) {
	t.Parallel()
	for _, lines := range []int{12, 100, 2000} {
		synctest.Test(t, func(t *testing.T) {
			workers := map[string]*worker{
				"a": {slots: 4, each: time.Second}, "b": {slots: 2, each: 2 * time.Second}, "c": {slots: 1, each: 8 * time.Second},
			}
			var peers []Peer
			speed := 0.0
			for id, w := range workers {
				w.free = make(chan struct{}, w.slots)
				peers = append(peers, Peer{id, w.slots})
				speed += float64(w.slots) / w.each.Seconds()
			}
			var mu sync.Mutex
			fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
				id := r.Header.Get("X-Lobstah-Prefer")
				one := workers[id]
				mu.Lock()
				one.did++
				mu.Unlock()
				one.free <- struct{}{}
				time.Sleep(one.each)
				<-one.free
				w.Header().Set("X-Lobstah-Peer", id)
				ok(w)
			})
			b := newBed(t, Config{Ask: fake, Peers: func(string) []Peer { return peers }})
			created := b.create(b.upload(chat(8))) // by which the pool learns how fast they are
			b.await(created.ID)
			start := time.Now()
			got := b.await(b.create(b.upload(chat(lines))).ID)
			took, ideal := time.Since(start), time.Duration(float64(lines)/speed*float64(time.Second))
			if got.RequestCounts.Completed != lines {
				t.Errorf("counts %+v", got.RequestCounts)
			}
			t.Logf("%d lines: %s, ideal %s; %d, %d and %d lines", lines, took, ideal, workers["a"].did, workers["b"].did, workers["c"].did)
			if took > ideal*11/10+2*time.Second {
				t.Errorf("%d lines took %s; their summed speed allows %s", lines, took, ideal)
			}
		})
	}
}

// A peer in whose place another answers is left alone for a while.
func TestAvoided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wanted := map[string]int{}
		var mu sync.Mutex
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			mu.Lock()
			wanted[r.Header.Get("X-Lobstah-Prefer")]++
			mu.Unlock()
			time.Sleep(time.Second)
			w.Header().Set("X-Lobstah-Peer", "good")
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: func(string) []Peer { return []Peer{{"good", 2}, {"bad", 2}} }})
		got := b.await(b.create(b.upload(chat(200))).ID)
		if got.RequestCounts.Completed != 200 || wanted["bad"] > 20 {
			t.Errorf("%d of 200 lines were meant for the peer that answers none", wanted["bad"])
		}
	})
}

// A model whose peers are busy keeps no other back.
func TestNoHeadOfLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var input strings.Builder
		for i := range 50 {
			input.WriteString(chatLine(fmt.Sprint("slow-", i), "slow", "slow"))
		}
		for i := range 50 {
			input.WriteString(chatLine(fmt.Sprint("quick-", i), "quick", "quick"))
		}
		var lastQuick time.Time
		var mu sync.Mutex
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			if content == "slow" {
				time.Sleep(time.Hour)
			} else {
				time.Sleep(time.Second)
				mu.Lock()
				lastQuick = time.Now()
				mu.Unlock()
			}
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: func(model string) []Peer { return []Peer{{model, 5}} }})
		start := time.Now()
		got := b.await(b.create(b.upload(input.String())).ID)
		if got.RequestCounts.Completed != 100 || got.Model != nil {
			t.Errorf("ended as %+v", got)
		}
		if took := lastQuick.Sub(start); took > time.Minute {
			t.Errorf("the quick model's lines took %s behind the slow one's", took)
		}
	})
}
