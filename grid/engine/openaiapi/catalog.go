package openaiapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"lobstah/openai"
)

const (
	listTimeout = 5 * time.Second
	freshFor    = 15 * time.Second // a model that was listed is believed to be there
	missingFor  = time.Second      // and one that was not, not to be
)

// A catalog remembers the list of models, so that checking a request's model
// usually costs no question. One question is under way at a time; who waits for
// it takes its answer.
type catalog struct {
	ask  func(context.Context) ([]Entry, error)
	turn chan struct{} // holds the one who asks

	mu      sync.Mutex // guards what follows
	entries []Entry    // never changed in place
	at      time.Time  // of the last answer
	began   time.Time  // of the last question that was answered or failed
	err     error      // its failure
}

func (c *catalog) known() (entries []Entry, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return nil, freshFor
	}
	return c.entries, time.Since(c.at)
}

// refresh asks now, or takes the outcome of a question that did not begin before
// this call.
func (c *catalog) refresh(ctx context.Context) ([]Entry, error) {
	called := time.Now()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an engine's list of models: %w", ctx.Err())
	}
	if entries, err, ok := c.since(called); ok {
		return entries, err
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	entries, err := c.ask(limited)
	if err != nil && ctx.Err() != nil {
		return nil, err // it tells nothing about the engine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.err = began, err
	if err == nil {
		c.entries, c.at = entries, time.Now()
	}
	return entries, err
}

func (c *catalog) since(t time.Time) (entries []Entry, err error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries, c.err, !c.began.Before(t)
}

// find returns the entry of the model that a request names. A list that cannot
// be renewed still counts: the request itself will tell what is wrong.
func (c *catalog) find(ctx context.Context, name string) (Entry, error) {
	entries, age := c.known()
	entry, found := match(entries, name)
	if found && age < freshFor {
		return entry, nil
	}
	if found || age >= missingFor {
		renewed, err := c.refresh(ctx)
		if err != nil && !found {
			return Entry{}, err
		}
		if err == nil {
			entries = renewed
			entry, found = match(entries, name)
		}
	}
	if !found {
		return Entry{}, notServed(name, entries)
	}
	return entry, nil
}

func match(entries []Entry, name string) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Serves(name) || slices.Contains(e.Aliases, name) })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

func notServed(name string, entries []Entry) *openai.Error {
	message := fmt.Sprintf("this engine does not serve the model %.100q; it has none", name)
	if len(entries) > 0 {
		names := make([]string, 0, 5)
		for _, e := range entries[:min(len(entries), cap(names))] {
			names = append(names, e.ID)
		}
		message = fmt.Sprintf("this engine does not serve the model %.100q; it has %s", name, strings.Join(names, ", "))
		if more := len(entries) - len(names); more > 0 {
			message += fmt.Sprintf(" and %d more", more)
		}
	}
	return &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model", Message: message,
	}
}

// usable reports whether a worker can announce a model of that name.
func usable(id string) bool {
	return id != "" && len(id) <= 256 && !strings.ContainsFunc(id, unicode.IsControl)
}
