package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// quiet is how long a followed node may say nothing: three of its signs.
const quiet = 3 * stillHere

// maxLine caps an Update's line.
const maxLine = 8 * MaxOutput

// pause lies between two tries: 1 s to 60 s, exponential, full jitter.
func pause(failures int) time.Duration {
	most := time.Second << min(failures, 6)
	return time.Duration(rand.Int64N(int64(min(most, time.Minute)))) + time.Millisecond
}

// follow brings one task to its end: it is handed over until the node has it,
// and then listened to, again after each loss.
func (o *Outbox) follow(ctx context.Context, s *sent) {
	for failures := 0; ; {
		before := o.lastHeard(s)
		err := o.step(ctx, s)
		if ctx.Err() != nil || o.over(s, err) {
			return
		}
		if err == nil || o.lastHeard(s) != before {
			failures = 0
		}
		if err == nil {
			continue
		}
		failures++
		select {
		case <-time.After(o.cfg.Pause(failures)):
		case <-s.again:
		case <-ctx.Done():
			return
		}
	}
}

func (o *Outbox) lastHeard(s *sent) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return s.heard
}

// step hands the task over, listens until the connection ends, or takes it back.
func (o *Outbox) step(ctx context.Context, s *sent) error {
	o.mu.Lock()
	t := s.task
	o.mu.Unlock()
	switch {
	case t.Unwanted:
		return o.withdraw(ctx, s)
	case !t.Taken:
		return o.put(ctx, s)
	}
	return o.listen(ctx, s)
}

// withdraw tells the node that the task is cancelled. A node that does not know
// it is content too.
func (o *Outbox) withdraw(ctx context.Context, s *sent) error {
	o.mu.Lock()
	t := s.task
	o.mu.Unlock()
	err := o.call(ctx, http.MethodDelete, &t, "", nil)
	if no, refusal := errors.AsType[*refused](err); err != nil && (!refusal || no.status != http.StatusNotFound) {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end(s, Cancelled, "", "cancelled here")
	return nil
}

// over judges what went wrong: a refusal ends the task, as does a silence that
// was too long.
func (o *Outbox) over(s *sent, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	no, refusal := errors.AsType[*refused](err)
	switch {
	case s.task.State.Final():
		return true
	case err == nil:
		return false
	case refusal && no.status == http.StatusNotFound && s.task.Taken:
		o.end(s, Lost, "", "the node does not know the task any longer; it may have lost its files: ask again")
	case refusal && no.final():
		o.end(s, Failed, "", no.message)
	case o.cfg.Now().Sub(s.heard) > o.cfg.Patience:
		o.end(s, Lost, "", fmt.Sprintf("nothing was heard of the node for %v: %v", o.cfg.Patience, err))
	default:
		o.note(s, err)
	}
	return s.task.State.Final()
}

// put hands the task over. Doing it again does no harm.
func (o *Outbox) put(ctx context.Context, s *sent) error {
	o.mu.Lock()
	t := s.task
	o.mu.Unlock()
	if err := o.call(ctx, http.MethodPut, &t, "", t.Brief); err != nil {
		return err
	}
	o.mu.Lock()
	o.note(s, nil)
	unwanted := s.task.Unwanted // meanwhile, and the node may not have known the task when it was told
	s.heard = o.cfg.Now()
	if !s.task.State.Final() {
		s.task.Taken = true // kept, so that a restart does not hand it over anew
		o.change(s)
	}
	o.mu.Unlock()
	if unwanted {
		return o.withdraw(ctx, s)
	}
	return nil
}

// listen reads updates until the stream ends.
func (o *Outbox) listen(ctx context.Context, s *sent) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(quiet, func() { cancel(fmt.Errorf("the node said nothing for %v", quiet)) })
	defer watch.Stop()
	o.mu.Lock()
	t, from := s.task, s.said.end()
	o.mu.Unlock()
	response, err := o.send(ctx, http.MethodGet, &t, "?from="+strconv.Itoa(from), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var u Update
		if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
			return fmt.Errorf("reading an update: %w", err)
		}
		watch.Reset(quiet)
		if o.apply(s, u) {
			return nil
		}
	}
	return cause(ctx, lines.Err(), io.ErrUnexpectedEOF)
}

// cause is the first reason that is one.
func cause(ctx context.Context, errs ...error) error {
	for _, err := range append([]error{context.Cause(ctx)}, errs...) {
		if err != nil {
			return err
		}
	}
	return nil
}

// apply takes an update over and reports whether the task has ended. A state
// that is not the other node's to say changes nothing. Only the end is kept on
// disk: after a restart the node is asked anyway, and it may tell much.
func (o *Outbox) apply(s *sent, u Update) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.heard = o.cfg.Now()
	o.note(s, nil)
	if u.Text != "" {
		s.said.say(strings.ToValidUTF8(u.Text, "\uFFFD"))
		o.tell(s)
	}
	switch u.State {
	case Done, Failed, Cancelled:
		o.end(s, u.State, strings.ToValidUTF8(u.Output, "\uFFFD"), u.Error)
	case Queued, Working, InputRequired:
		question := short(u.Question, MaxQuestion)
		if s.task.State != u.State || s.task.Question != question {
			s.task.State, s.task.Question, s.task.Updated = u.State, question, o.cfg.Now()
			o.tell(s)
		}
	}
	return s.task.State.Final()
}

// call sends one request whose answer says no more than whether it worked.
func (o *Outbox) call(ctx context.Context, method string, t *Task, suffix string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	response, err := o.send(ctx, method, t, suffix, body)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// send makes one request. An answer that says no is a *refused.
func (o *Outbox) send(ctx context.Context, method string, t *Task, suffix string, body any) (*http.Response, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding a task: %w", err)
		}
		content = bytes.NewReader(raw)
	}
	url := "mesh://" + t.Node.String() + Path + "tasks/" + t.ID + suffix
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", t.NodeName, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := o.cfg.Mesh.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking the node %s: %w", Caller{ID: t.Node, Name: t.NodeName}, err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, readRefusal(response)
}

func readRefusal(response *http.Response) *refused {
	var in struct {
		Error struct{ Message, Code string }
	}
	raw, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what came, even if cut, tells more than nothing
	if json.Unmarshal(raw, &in) != nil || in.Error.Message == "" {
		in.Error.Message = "the node answered " + response.Status
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // none is zero
	return &refused{
		status: response.StatusCode, code: in.Error.Code, message: in.Error.Message,
		retryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second,
	}
}
