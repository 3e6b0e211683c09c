package discover

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid/announce"
	"lobstah/key"
)

// board is a place in memory, which can be told to fail.
type board struct {
	name string
	stay time.Duration

	mu     sync.Mutex
	fault  error                 // of the next calls
	hangs  bool                  // answers nothing until the context ends
	offers []*announce.Signed    // that it took
	at     []time.Time           // when it was asked
	gone   []announce.Withdrawal // that it took
}

func (b *board) Name() string { return b.name }

func (b *board) Publish(ctx context.Context, offer *announce.Signed) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = append(b.at, time.Now())
	if b.hangs {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if b.fault != nil {
		return 0, b.fault
	}
	b.offers = append(b.offers, offer)
	return b.stay, nil
}

func (b *board) Withdraw(ctx context.Context, gone announce.Withdrawal) error {
	if b.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = append(b.gone, gone)
	return b.fault
}

func (b *board) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = err
}

func (b *board) asked() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *board) took() []*announce.Signed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.offers
}

// worker is what is announced; it changes under a lock.
type worker struct {
	mu    sync.Mutex
	offer announce.Offer
	err   error
}

func (w *worker) get(context.Context) (announce.Offer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.offer, w.err
}

func (w *worker) set(change func(*worker)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

var self = key.FromSeed([32]byte{1})

func newWorker() *worker {
	return &worker{offer: announce.Offer{URL: "https://192.0.2.1:17474", Models: []string{"b", "a"}, TTL: 5 * time.Minute}}
}

// announcing runs an announcer in a bubble until the test stops it.
func announcing(t *testing.T, w *worker, boards ...Board) (a *Announcer, stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	a = NewAnnouncer(AnnouncerConfig{Boards: boards, Key: self, Offer: w.get, Logger: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, func() error {
		cancel()
		return <-done
	}
}

func TestAnnouncerRenewsAtHalfOfTheStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offered, short, greedy := &board{name: "offered"}, &board{name: "short", stay: time.Minute}, &board{name: "greedy", stay: 24 * time.Hour}
		a, stop := announcing(t, newWorker(), offered, short, greedy)
		time.Sleep(30 * time.Minute)
		for _, test := range []struct {
			board *board
			half  time.Duration
		}{{offered, 150 * time.Second}, {short, 30 * time.Second}, {greedy, 150 * time.Second}} {
			times := test.board.asked()
			distinct := map[time.Duration]bool{}
			for i := 1; i < len(times); i++ {
				gap := times[i].Sub(times[i-1])
				distinct[gap] = true
				if gap > test.half || gap < test.half*9/10-time.Second {
					t.Errorf("%s: renewed after %s; want half of the stay less up to a tenth, %s", test.board.name, gap, test.half)
				}
			}
			if len(distinct) < 3 {
				t.Errorf("%s: the gaps %v have no jitter", test.board.name, distinct)
			}
		}
		for i, offer := range offered.took()[1:] {
			if !offer.AnnouncedAt.After(offered.took()[i].AnnouncedAt) {
				t.Errorf("offer %d is not newer than the one before", i+1)
			}
			if _, err := announce.Open(offer.Envelope(), offer.AnnouncedAt); err != nil {
				t.Errorf("offer %d: %v", i+1, err)
			}
		}
		state := a.States()[1]
		if state.Name != "short" || state.LastErr != nil || state.LastOK.IsZero() || state.Until.Sub(state.LastOK) != time.Minute || !state.Next.Before(state.Until) {
			t.Errorf("state: %+v", state)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnnouncerWithdrawsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad, hung := &board{name: "good"}, &board{name: "bad"}, &board{name: "hung", hangs: true}
		_, stop := announcing(t, newWorker(), good, bad, hung)
		time.Sleep(time.Second)
		bad.fail(errors.New("no room"))
		began := time.Now()
		err := stop()
		if err == nil || !strings.Contains(err.Error(), "withdraw from bad: no room") || !strings.Contains(err.Error(), "withdraw from hung: context deadline") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > stopLimit {
			t.Errorf("it took %s to stop", took)
		}
		if len(good.gone) != 1 || good.gone[0].At.Before(good.took()[0].AnnouncedAt) {
			t.Errorf("withdrawn: %+v", good.gone)
		}
		if _, err := announce.OpenWithdrawal(good.gone[0].JSON(), time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestAnnouncerWithdrawsNothingThatItNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newWorker(), &board{name: "b"}
		w.err = errors.New("the engine does not answer")
		a, stop := announcing(t, w, b)
		time.Sleep(time.Minute)
		if state := a.States()[0]; state.LastErr == nil || !strings.Contains(state.LastErr.Error(), "engine") || state.Failures < 3 {
			t.Errorf("state: %+v", state)
		}
		if err := stop(); err != nil || len(b.gone) != 0 || len(b.asked()) != 0 {
			t.Errorf("stopped: %v, %d withdrawals", err, len(b.gone))
		}
	})
}

func TestAnnouncerBacksOffAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, fine := &board{name: "down", fault: errors.New("refused")}, &board{name: "fine"}
		a, stop := announcing(t, newWorker(), down, fine)
		time.Sleep(time.Hour)
		times := down.asked()
		if n := len(times); n < 12 || n > 40 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < firstRetry/2 || gap > lastRetry {
				t.Errorf("attempt %d came after %s", i, gap)
			}
		}
		if n := len(fine.took()); n < 24 {
			t.Errorf("the other board took %d offers in an hour; want 24 or more", n)
		}
		down.fail(nil)
		time.Sleep(lastRetry)
		if state := a.States()[0]; state.LastErr != nil || state.Failures != 0 || state.LastOK.IsZero() {
			t.Errorf("after recovery: %+v", state)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnnouncerWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{name: "b", fault: &LaterError{4 * time.Minute, errors.New("too many")}}
		_, stop := announcing(t, newWorker(), b)
		time.Sleep(10 * time.Second)
		b.fail(&LaterError{100 * time.Hour, errors.New("never")})
		time.Sleep(4 * time.Minute)
		b.fail(nil)
		time.Sleep(2 * lastRetry)
		times := b.asked()
		if len(times) < 3 || times[1].Sub(times[0]) != 4*time.Minute || times[2].Sub(times[1]) != 2*lastRetry {
			t.Errorf("asked at %v", times)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnnouncerTellsOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newWorker(), &board{name: "b"}
		_, stop := announcing(t, w, b)
		steps := []struct {
			name   string
			change func(*announce.Offer)
			tells  bool
		}{
			{"load", func(o *announce.Offer) { o.Running, o.QueueDepth = 2, 3 }, false},
			{"order", func(o *announce.Offer) { o.Models = []string{"a", "b"} }, false},
			{"model", func(o *announce.Offer) { o.Models = []string{"a", "b", "c"} }, true},
			{"place", func(o *announce.Offer) { o.URL = "https://192.0.2.2:17474" }, true},
			{"price", func(o *announce.Offer) { o.Price = &announce.Price{Input: 1, Output: 2, Unit: "credit"} }, true},
			{"again", func(o *announce.Offer) { o.Price = &announce.Price{Input: 1, Output: 2, Unit: "credit"} }, false},
		}
		for _, step := range steps {
			time.Sleep(20 * time.Second)
			before := len(b.took())
			w.set(func(w *worker) { step.change(&w.offer) })
			time.Sleep(checkEvery + time.Second)
			synctest.Wait()
			if told := len(b.took()) > before; told != step.tells {
				t.Errorf("%s: told soon is %v; want %v", step.name, told, step.tells)
			}
		}
		// A worker that changes all the time is told of at a bounded rate.
		before := len(b.took())
		for i := range 60 {
			w.set(func(w *worker) { w.offer.Label = strings.Repeat("x", i+1) })
			time.Sleep(2 * time.Second)
		}
		if n := len(b.took()) - before; n < 7 || n > 9 {
			t.Errorf("%d offers within two minutes of changes; want one in %s", n, checkEvery)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
