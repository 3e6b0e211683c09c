package jobs

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"lobstah/grid"
)

var (
	lives = Lives{Open: 72 * time.Hour, Done: 7 * 24 * time.Hour, Failed: 24 * time.Hour, Taken: time.Hour}
	noon  = time.UnixMilli(1_790_000_000_000)
)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func fresh() State {
	return State{Status: Queued, Created: noon, Due: noon, Expires: noon.Add(lives.Open)}
}

func claimed() State {
	s, _ := fresh().Claim("a", noon, at(1))
	return s
}

func placed() State {
	s, _ := claimed().Place("a")
	return s
}

func must(t *testing.T) func(State, error) State {
	return func(s State, err error) State {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// Every event in every status that it can meet.
func TestState(t *testing.T) {
	t.Parallel()
	ended, _ := claimed().Finish("a", at(1), lives)
	released, _ := placed().Release("a", at(1), nil)
	wished, _ := claimed().WishCancel(noon, lives)
	third := claimed()
	third.Attempts = maxCrashes
	late := claimed()
	late.Expires = noon
	begun, _ := released.Claim("a", at(1), at(2))
	for _, test := range []struct {
		name string
		from State
		do   func(State) (State, error)
		want Status
		err  error
	}{
		{"claim", fresh(), func(s State) (State, error) { return s.Claim("a", noon, at(1)) }, Running, nil},
		{"claim too early", fresh(), func(s State) (State, error) { return s.Claim("a", at(-1), at(1)) }, Queued, ErrNotReady},
		{"claim what runs", claimed(), func(s State) (State, error) { return s.Claim("b", noon, at(1)) }, Running, ErrNotReady},
		{"claim what has ended", ended, func(s State) (State, error) { return s.Claim("b", noon, at(1)) }, Done, ErrNotReady},
		{"finish", claimed(), func(s State) (State, error) { return s.Finish("a", at(1), lives) }, Done, nil},
		{"finish what another holds", claimed(), func(s State) (State, error) { return s.Finish("b", at(1), lives) }, Running, ErrNotHeld},
		{"finish twice", ended, func(s State) (State, error) { return s.Finish("a", at(1), lives) }, Done, ErrNotHeld},
		{"finish although cancelling was wished", wished, func(s State) (State, error) { return s.Finish("a", at(1), lives) }, Done, nil},
		{"fail", claimed(), func(s State) (State, error) { return s.Fail("a", grid.JobError{Type: "x"}, at(1), lives) }, Failed, nil},
		{"release", claimed(), func(s State) (State, error) { return s.Release("a", at(5), nil) }, Queued, nil},
		{"release what another holds", claimed(), func(s State) (State, error) { return s.Release("b", at(5), nil) }, Running, ErrNotHeld},
		{"lapse before the lease ends", claimed(), func(s State) (State, error) { return s.Lapse(noon, lives) }, Running, ErrNotReady},
		{"lapse", claimed(), func(s State) (State, error) { return s.Lapse(at(1), lives) }, Queued, nil},
		{"lapse of what was to be cancelled", wished, func(s State) (State, error) { return s.Lapse(at(1), lives) }, Failed, nil},
		{"the third crash", third, func(s State) (State, error) { return s.Lapse(at(1), lives) }, Failed, nil},
		{"a crash while it is elsewhere", placed(), func(s State) (State, error) { return s.Lapse(at(1), lives) }, Queued, nil},
		{"cancel a queued one", fresh(), func(s State) (State, error) { return s.WishCancel(noon, lives) }, Failed, nil},
		{"cancel a running one", claimed(), func(s State) (State, error) { return s.WishCancel(noon, lives) }, Running, nil},
		{"cancel one that is elsewhere", released, func(s State) (State, error) { return s.WishCancel(noon, lives) }, Queued, nil},
		{"cancel what has ended", ended, func(s State) (State, error) { return s.WishCancel(noon, lives) }, Done, ErrEnded},
		{"expire", fresh(), func(s State) (State, error) { return s.Expire(noon.Add(lives.Open), lives) }, Failed, nil},
		{"expire too early", fresh(), func(s State) (State, error) { return s.Expire(at(1), lives) }, Queued, ErrNotReady},
		{"expire what runs", late, func(s State) (State, error) { return s.Expire(at(1), lives) }, Running, ErrNotReady},
		{"begin", begun, func(s State) (State, error) { return s.Begin("a", at(1)) }, Running, nil},
		{"begin what another holds", begun, func(s State) (State, error) { return s.Begin("b", at(1)) }, Running, ErrNotHeld},
		{"take", ended, func(s State) (State, error) { return s.Take(at(2), lives) }, Done, nil},
		{"take what has not ended", claimed(), func(s State) (State, error) { return s.Take(at(2), lives) }, Running, ErrNotReady},
	} {
		got, err := test.do(test.from)
		if got.Status != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %s, %v; want %s, %v", test.name, got.Status, err, test.want, test.err)
		}
		if err != nil && got != test.from {
			t.Errorf("%s: refused, but %+v became %+v", test.name, test.from, got)
		}
	}
}

func TestStateDetails(t *testing.T) {
	t.Parallel()
	ok := must(t)
	if s := ok(claimed().Release("a", at(5), nil)); s.Attempts != 0 || !s.Due.Equal(at(5)) || s.Holder != "" {
		t.Errorf("released: %+v", s)
	}
	if s := ok(claimed().Lapse(at(1), lives)); s.Attempts != 1 || !s.Due.Equal(at(1)) {
		t.Errorf("lapsed: %+v", s)
	}
	if s := ok(placed().Lapse(at(1), lives)); s.Attempts != 0 || !s.Placed {
		t.Errorf("lapsed while elsewhere: %+v; want no crash counted", s)
	}
	s := ok(claimed().Finish("a", at(1), lives))
	if !s.Expires.Equal(at(1).Add(lives.Done)) || !s.Completed.Equal(at(1)) || s.Cancel || s.Placed {
		t.Errorf("finished: %+v", s)
	}
	s = ok(s.Take(at(2), lives))
	if !s.Expires.Equal(at(62)) {
		t.Errorf("taken: kept until %s", s.Expires)
	}
	if _, err := s.Take(at(30), lives); err == nil {
		t.Error("taking it again keeps it longer")
	}
	if s := ok(fresh().WishCancel(at(3), lives)); s.Fault == nil || s.Fault.Type != "cancelled" || !s.Expires.Equal(at(3).Add(lives.Failed)) {
		t.Errorf("cancelled: %+v", s)
	}
	for _, test := range []struct {
		from State
		want Status
	}{{fresh(), Queued}, {claimed(), Queued}, {ok(claimed().Begin("a", noon)), Running}, {s, Done}} {
		if got := test.from.Shown(); got != test.want {
			t.Errorf("%+v is shown as %s; want %s", test.from, got, test.want)
		}
	}
	elsewhere := ok(ok(placed().Begin("a", noon)).Release("a", noon, nil))
	if elsewhere.Status != Queued || elsewhere.Shown() != Running {
		t.Errorf("begun elsewhere and released here: shown as %s", elsewhere.Shown())
	}
}

// Whatever happens in whatever order: an end is an end, nobody holds what is
// not running, and a result is kept by who held the lease.
func TestStateHoldsUnderRandomEvents(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		s, now := fresh(), noon
		for range 60 {
			now = now.Add(time.Duration(random.IntN(40)) * time.Second)
			who := string(rune('a' + random.IntN(2)))
			before := s
			var err error
			switch event := random.IntN(9); event {
			case 0, 1:
				s, err = s.Claim(who, now, now.Add(time.Minute))
			case 2:
				s, err = s.Release(who, now, nil)
			case 3:
				s, err = s.Lapse(now, lives)
			case 4:
				s, err = s.Place(who)
			case 5:
				s, err = s.Begin(who, now)
			case 6:
				if random.IntN(5) == 0 {
					s, err = s.WishCancel(now, lives)
				}
			case 7:
				if random.IntN(5) == 0 {
					s, err = s.Finish(who, now, lives)
				}
			case 8:
				if random.IntN(5) == 0 {
					s, err = s.Fail(who, grid.JobError{Type: "x"}, now, lives)
				}
			}
			switch {
			case err != nil && s != before:
				t.Fatalf("seed %d: a refused event changed %+v to %+v", seed, before, s)
			case before.Status.Ended() && s != before:
				t.Fatalf("seed %d: an end changed: %+v to %+v", seed, before, s)
			case (s.Status == Running) != (s.Holder != ""):
				t.Fatalf("seed %d: %s, held by %q", seed, s.Status, s.Holder)
			case s.Status == Done && before.Status != Done && before.Holder != who:
				t.Fatalf("seed %d: finished by %s, held by %s", seed, who, before.Holder)
			case s.Attempts < 0 || s.Attempts > maxCrashes:
				t.Fatalf("seed %d: %d attempts", seed, s.Attempts)
			case s.Status.Ended() == s.Completed.IsZero():
				t.Fatalf("seed %d: %s, completed %s", seed, s.Status, s.Completed)
			}
		}
	}
}
