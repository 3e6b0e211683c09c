package openaiapi

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// source is an engine's list that can be broken, slow and counted.
type source struct {
	asked int
	takes time.Duration
	ids   []string
	err   error
}

func (s *source) ask(ctx context.Context) ([]Entry, error) {
	s.asked++
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var entries []Entry
	for _, id := range s.ids {
		entries = append(entries, Entry{Model: grid.Model{ID: id}})
	}
	return entries, s.err
}

func newCatalog(s *source) *catalog {
	return &catalog{ask: s.ask, turn: make(chan struct{}, 1)}
}

// A listed model costs a question each 15 seconds at most, an unlisted one each
// second.
func TestCatalogRemembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{ids: []string{"m"}}
		c := newCatalog(s)
		find := func(name string, want bool, asked int) {
			t.Helper()
			_, err := c.find(t.Context(), name)
			if got := err == nil; got != want || s.asked != asked {
				t.Errorf("find(%s) = %v after %d questions; want %v after %d", name, err, s.asked, want, asked)
			}
		}
		find("m", true, 1)
		time.Sleep(14 * time.Second)
		find("m", true, 1)
		time.Sleep(time.Second)
		find("m", true, 2)
		find("new", false, 2) // just asked
		time.Sleep(time.Second)
		s.ids = []string{"m", "new"}
		find("new", true, 3)
		s.ids = nil
		find("m", true, 3)
		time.Sleep(15 * time.Second)
		find("m", false, 4)
	})
}

// A list that fails hides no model that was listed: the call itself will tell.
func TestCatalogSurvivesAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{ids: []string{"m"}}
		c := newCatalog(s)
		if _, err := c.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.ids, s.err = nil, &openai.Error{Status: 502}
		time.Sleep(time.Hour)
		if e, err := c.find(t.Context(), "m"); err != nil || e.ID != "m" {
			t.Errorf("find(m) = %v, %v", e, err)
		}
		if _, err := c.find(t.Context(), "other"); !errors.Is(err, s.err) {
			t.Errorf("find(other): %v; want the list's failure", err)
		}
		time.Sleep(time.Minute)
		s.takes, s.err = time.Hour, nil // it hangs
		began := time.Now()
		if _, err := c.find(t.Context(), "other"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != listTimeout {
			t.Errorf("a list that hangs: %v after %v; want a timeout after %v", err, time.Since(began), listTimeout)
		}
	})
}

// Who waits for a question that began after it came takes its answer, so a
// hundred at once cost two questions; one who leaves stops nobody.
func TestCatalogAsksForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{ids: []string{"m"}, takes: time.Second}
		c := newCatalog(s)
		left, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.refresh(left); !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			group.Go(func() {
				if entries, err := c.refresh(t.Context()); err != nil || len(entries) != 1 {
					t.Errorf("refresh() = %v, %v", entries, err)
				}
			})
		}
		synctest.Wait()
		leave()
		group.Wait()
		if s.asked != 2 {
			t.Errorf("101 callers asked %d times; want 2", s.asked)
		}
	})
}
