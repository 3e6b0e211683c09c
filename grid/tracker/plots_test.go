package tracker

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A restart loses no plot, and shows the time in between as what it was:
// nobody was seen.
func TestPlotsOutliveARestart(t *testing.T) {
	t.Parallel()
	c := newClock()
	before := New(Config{Store: NewMemory(c.now), Now: c.now})
	for range 3 {
		for n := range 2 {
			if got := serve(before, crowdRequest(n, "/announce", crowdOffer(t, n, c.now()).Envelope())); got != http.StatusOK {
				t.Fatalf("status %d", got)
			}
		}
		c.pass(slotTime)
	}
	var text bytes.Buffer
	if err := before.WritePlots(&text); err != nil {
		t.Fatal(err)
	}
	want := before.index.all.day.read(slotOf(c.now()), 2)

	after := New(Config{Store: NewMemory(c.now), Now: c.now})
	if err := after.ReadPlots(bytes.NewReader(text.Bytes())); err != nil {
		t.Fatal(err)
	}
	if got := serve(after, crowdRequest(1, "/announce", crowdOffer(t, 1, c.now()).Envelope())); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	slot := slotOf(c.now())
	if _, got := after.index.total(); !slices.Equal(got, want) {
		t.Errorf("all: %v; want %v", got, want)
	}
	was := before.index.byName["llama3.1:8b"].day.read(slot, 2)
	if got := after.index.byName["llama3.1:8b"].day.read(slot, 1); !slices.Equal(got, was) {
		t.Errorf("a model: %v; want %v", got, was)
	}
	id := crowdPair(1).ID()
	loads := before.index.byID[id].day.read(slot, 0)
	loads[slots-1] = 1 + 25 // it has announced in this slot again: one of four places
	if got := after.index.byID[id].day.read(slot, 0); !slices.Equal(got, loads) {
		t.Errorf("a worker: %v; want %v", got, loads)
	}
	c.pass(3 * slotTime)
	after.index.turn()
	if len(after.index.loads) != 0 {
		t.Errorf("%d plots of keys that never came back are kept", len(after.index.loads))
	}
}

func TestDamagedPlots(t *testing.T) {
	t.Parallel()
	numbers := strings.TrimSuffix(strings.Repeat("0,", slots), ",")
	for text, want := range map[string]string{
		`{"lobstahPlots":2}`:                                   "line 1: version 2",
		`{"lobstahPlots":1}` + "\n" + `{`:                      "line 2",
		`{"lobstahPlots":1}` + "\n" + `{"last":1}`:             "line 2: want 48 numbers",
		`{"lobstahPlots":1}` + "\n" + `{"last":999999999999}`:  "line 2: it is of a time to come",
		`{"lobstahPlots":1}` + "\n" + `{"model":"m","last":1}`: "line 2: want 48 numbers",
		`{"lobstahPlots":1}` + "\n" + `{"model":"` + strings.Repeat("m", 300) + `","last":1,"counts":[` + numbers + `]}`: "too long",
	} {
		err := New(Config{Store: NewMemory(time.Now)}).ReadPlots(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func FuzzReadPlots(f *testing.F) {
	f.Add([]byte("{\"lobstahPlots\":1}\n{\"model\":\"m\",\"last\":1,\"counts\":[]}\n"))
	f.Add([]byte("{\"lobstahPlots\":1}\n{\"pubkey\":\"lob1\",\"last\":-1,\"loads\":\"AA==\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tracker := New(Config{Store: NewMemory(nil)})
		if tracker.ReadPlots(bytes.NewReader(data)) != nil {
			return
		}
		var again bytes.Buffer
		if err := tracker.WritePlots(&again); err != nil {
			t.Fatal(err)
		}
		if err := New(Config{Store: NewMemory(nil)}).ReadPlots(&again); err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
	})
}
