package nostr

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"lobstah/grid/discover"
	"lobstah/internal/canonical"
)

// A talk is one connection to a relay. It belongs to one goroutine.
type talk struct {
	ws      *websocket.Conn
	left    int64 // bytes that are still read
	silence time.Duration
	notice  string // what the relay said last
}

// errFull says that a relay sent more than it may.
var errFull = fmt.Errorf("%w: too many bytes", discover.ErrPart)

// talk connects, lets do speak, and hangs up.
func (r *Relay) talk(ctx context.Context, bytes int64, do func(context.Context, *talk) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	ws, response, err := websocket.Dial(ctx, r.url, &websocket.DialOptions{
		HTTPClient: r.config.HTTP, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if response != nil && response.StatusCode/100 == 3 {
			return fmt.Errorf("the relay is not here any more; it says it is at %s", quote(response.Header.Get("Location")))
		}
		return fmt.Errorf("connect: %w", err)
	}
	ws.SetReadLimit(-1) // read counts by itself, and leaves out what is too long
	defer ws.CloseNow() // no farewell: a bad relay would not answer it
	t := &talk{ws: ws, left: bytes, silence: r.silence}
	err = do(ctx, t)
	switch {
	case err == nil || errors.Is(err, discover.ErrPart):
		return err
	case ctx.Err() != nil:
		err = fmt.Errorf("the relay did not answer to the end: %w", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("the relay was silent for %s", r.silence)
	}
	if t.notice != "" {
		err = fmt.Errorf("%w; it said %s", err, quote(t.notice))
	}
	return err
}

func (t *talk) write(ctx context.Context, message ...any) error {
	return t.ws.Write(ctx, websocket.MessageText, canonical.Append(nil, message))
}

// read returns the next message that is one. What is too long or not JSON is
// left out: anybody may have given it to a relay that is good otherwise.
func (t *talk) read(ctx context.Context) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, t.silence)
	defer cancel()
	for {
		text, err := t.next(ctx)
		if err != nil {
			return nil, err
		}
		if len(text) > canonical.MaxBytes {
			continue
		}
		tree, err := canonical.Parse(text)
		if message, ok := tree.([]any); err == nil && ok && len(message) > 0 {
			return message, nil
		}
	}
}

// next reads a message, of a long one only the beginning.
func (t *talk) next(ctx context.Context) ([]byte, error) {
	_, reader, err := t.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(reader, min(canonical.MaxBytes+1, t.left+1)))
	if err != nil {
		return nil, err
	}
	t.left -= int64(len(text))
	if t.left >= 0 {
		rest, err := io.Copy(io.Discard, io.LimitReader(reader, t.left+1))
		if t.left -= rest; err != nil {
			return nil, err
		}
	}
	if t.left < 0 {
		return nil, errFull
	}
	return text, nil
}

// send gives an event to the relay and waits until it was taken.
func (r *Relay) send(ctx context.Context, e *event) error {
	return r.talk(ctx, publishBytes, func(ctx context.Context, t *talk) error {
		if err := t.write(ctx, "EVENT", e.tree()); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		for {
			message, err := t.read(ctx)
			if err != nil {
				return err
			}
			if answered, err := t.answer(message, hex.EncodeToString(e.id[:])); answered {
				return err
			}
		}
	})
}

// answer looks whether a message is ["OK", id, true or false, text].
func (t *talk) answer(message []any, id string) (bool, error) {
	t.note(message)
	if message[0] != "OK" || len(message) < 3 || message[1] != id {
		return false, nil
	}
	why := ""
	if len(message) > 3 {
		why, _ = message[3].(string)
	}
	if message[2] == true || strings.HasPrefix(why, "duplicate:") {
		return true, nil
	}
	err := fmt.Errorf("the relay did not take it: %s", quote(why))
	if strings.HasPrefix(why, "rate-limited:") {
		err = &discover.LaterError{After: time.Minute, Err: err}
	}
	return true, err
}

// note remembers ["NOTICE", text], which often says what is wrong.
func (t *talk) note(message []any) {
	if message[0] == "NOTICE" && len(message) > 1 {
		t.notice, _ = message[1].(string)
	}
}

// subscription is the name of our only subscription on a connection.
const subscription = "lobstah"

// manyEvents is how many events make a page that may have been cut: relays
// give a few hundred at a time, each with a limit of its own.
const manyEvents = 100

// query asks for all events of a kind that filter lets through, at most limit
// of them, and calls take for each that has a right id, once.
func (r *Relay) query(ctx context.Context, kind int64, filter canonical.Object, limit int, take func(*event)) error {
	return r.talk(ctx, collectBytes, func(ctx context.Context, t *talk) error {
		q := &query{talk: t, kind: kind, limit: limit, take: take, seen: map[[32]byte]bool{}}
		for until := int64(0); ; until = q.oldest {
			page := filter
			if until > 0 {
				page = append(page[:len(page):len(page)], canonical.Member{Name: "until", Value: float64(until)})
			}
			if err := t.write(ctx, "REQ", subscription, page); err != nil {
				return fmt.Errorf("ask: %w", err)
			}
			before := len(q.seen)
			if err := q.page(ctx); err != nil {
				return err
			}
			if q.events < manyEvents || len(q.seen) == before {
				return nil
			}
		}
	})
}

// A query is the reading of an answer.
type query struct {
	*talk
	kind   int64
	limit  int
	take   func(*event)
	seen   map[[32]byte]bool
	all    int   // messages that claim to be events
	events int   // of this page
	oldest int64 // of this page
}

// page reads until the relay has told all that it has.
func (q *query) page(ctx context.Context) error {
	q.events, q.oldest = 0, 0
	for {
		message, err := q.read(ctx)
		if err != nil {
			return err
		}
		q.note(message)
		if len(message) < 2 || message[1] != subscription {
			continue
		}
		switch message[0] {
		case "EOSE":
			return nil
		case "CLOSED":
			return fmt.Errorf("the relay did not answer: %s", quote(text(message, 2)))
		case "EVENT":
			if q.all++; q.all > q.limit {
				return fmt.Errorf("%w: more than %d events", discover.ErrPart, q.limit)
			}
			if len(message) > 2 {
				q.event(message[2])
			}
		}
	}
}

func (q *query) event(tree any) {
	e, err := parseEvent(tree)
	if err != nil || e.kind != q.kind {
		return
	}
	q.events++
	if q.oldest == 0 || e.created < q.oldest {
		q.oldest = e.created
	}
	if !q.seen[e.id] {
		q.seen[e.id] = true
		q.take(e)
	}
}

func text(message []any, at int) string {
	if at >= len(message) {
		return ""
	}
	s, _ := message[at].(string)
	return s
}

// quote shows a stranger's text to people.
func quote(text string) string {
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return strconv.Quote(text)
}
