package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"lobstah/key"
)

// OutboxConfig says how an outbox works. The fields after Mesh have good zero
// values.
type OutboxConfig struct {
	Dir  string            // where tasks are kept
	Mesh http.RoundTripper // for mesh://lob1… addresses

	Patience time.Duration // without a word of the node before a task is lost; zero means a day
	Active   int           // tasks that have not ended; zero means 100
	Kept     int           // finished tasks that are remembered; zero means 1,000
	Keep     time.Duration // for how long; zero means a week
	Log      *slog.Logger
	Now      func() time.Time
	Pause    func(failures int) time.Duration // between two tries; nil means 1 s to 60 s with full jitter
}

// An Outbox asks agents on other nodes. Make it with OpenOutbox and call Run,
// which owns all that runs.
type Outbox struct {
	cfg   OutboxConfig
	store *store
	wake  chan struct{} // buffered; a new task is to be followed

	mu    sync.Mutex // guards what follows, and the store
	tasks map[string]*sent
}

// A sent is a task that this node asked. The outbox's lock guards it.
type sent struct {
	task     Task
	followed bool // by a goroutine of Run
	heard    time.Time
	said     progress
	changed  chan struct{} // closed at each change, and made anew
	again    chan struct{} // buffered; its node may be reached now
}

func newSent(t Task, heard time.Time) *sent {
	return &sent{task: t, heard: heard, changed: make(chan struct{}), again: make(chan struct{}, 1)}
}

// Retry lets all tasks try now that wait for a node which could not be reached.
func (o *Outbox) Retry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.tasks {
		select {
		case s.again <- struct{}{}:
		default: // it is told already
		}
	}
}

// OpenOutbox reads the tasks that are kept; Run follows those that had not
// ended.
func OpenOutbox(cfg OutboxConfig) (*Outbox, error) {
	s, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Patience, cfg.Keep = cmp.Or(cfg.Patience, 24*time.Hour), cmp.Or(cfg.Keep, 7*24*time.Hour)
	cfg.Active, cfg.Kept = cmp.Or(cfg.Active, 100), cmp.Or(cfg.Kept, 1000)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Pause == nil {
		cfg.Pause = pause
	}
	o := &Outbox{cfg: cfg, store: s, wake: make(chan struct{}, 1), tasks: map[string]*sent{}}
	tasks, err := s.load()
	if err != nil {
		cfg.Log.Warn("some kept tasks cannot be read", "error", err)
	}
	for _, t := range tasks {
		o.tasks[t.ID] = newSent(t, cfg.Now())
	}
	return o, nil
}

// Run follows all tasks that have not ended until ctx ends, and waits for all
// that it began.
func (o *Outbox) Run(ctx context.Context) error {
	var followers sync.WaitGroup
	defer followers.Wait()
	sweep := time.NewTicker(2 * time.Minute)
	defer sweep.Stop()
	for {
		for _, s := range o.unfollowed() {
			followers.Go(func() { o.follow(ctx, s) })
		}
		select {
		case <-o.wake:
		case <-sweep.C:
			o.mu.Lock()
			o.sweep()
			o.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

func (o *Outbox) unfollowed() (list []*sent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.tasks {
		if !s.followed && !s.task.State.Final() {
			s.followed = true
			list = append(list, s)
		}
	}
	return list
}

// Ask hands a brief to an agent of a node. The task is kept before anything is
// sent. The error is the node's refusal; a node that cannot be reached now is
// none, its task stays queued until it is reached.
func (o *Outbox) Ask(ctx context.Context, node key.ID, name string, b Brief) (Task, error) {
	if err := b.Check(); err != nil {
		return Task{}, err
	}
	now := o.cfg.Now()
	s := newSent(Task{ID: NewID(), Node: node, NodeName: name, Brief: b, State: Queued, Created: now, Updated: now}, now)
	s.followed = true
	if err := o.add(s); err != nil {
		return Task{}, err
	}
	err := o.put(ctx, s)
	o.mu.Lock()
	defer o.mu.Unlock()
	s.followed = false
	o.nudge()
	if no, refusal := errors.AsType[*refused](err); refusal && no.final() {
		o.end(s, Failed, "", no.message)
		return s.task, no
	}
	o.note(s, err)
	return s.task, nil
}

func (o *Outbox) add(s *sent) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	active := 0
	for _, other := range o.tasks {
		if !other.task.State.Final() {
			active++
		}
	}
	if active >= o.cfg.Active {
		return fmt.Errorf("%d tasks have not ended yet; wait for one or cancel it", active)
	}
	if len(o.tasks) >= 2*o.cfg.Kept {
		o.sweep()
	}
	if err := o.store.put(&s.task); err != nil {
		return err
	}
	o.tasks[s.task.ID] = s
	return nil
}

func (o *Outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Wait follows a task until it ends or its agent asks something. Each is called
// from this goroutine with what the agent said since; it may be nil.
func (o *Outbox) Wait(ctx context.Context, id string, each func(text string)) (Task, error) {
	for at := 0; ; {
		t, text, next, err := o.Next(ctx, id, at)
		if err != nil {
			return t, err
		}
		if at = next; text != "" && each != nil {
			each(text)
		}
		switch {
		case t.State.Final() || t.State == InputRequired:
			return t, nil
		case ctx.Err() != nil:
			return t, fmt.Errorf("waiting for the task %s: %w", id, ctx.Err())
		}
	}
}

// Next waits until the agent has said more than its first at bytes, the task
// ends, asks something, or ctx ends, and returns the task as it is then, the new
// text and where the next one begins.
func (o *Outbox) Next(ctx context.Context, id string, at int) (t Task, text string, next int, err error) {
	for {
		t, text, changed, err := o.look(id, &at)
		if err != nil || text != "" || t.State.Final() || t.State == InputRequired || ctx.Err() != nil {
			return t, text, at, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// look returns a task and what was said after a place, which it moves to the end.
func (o *Outbox) look(id string, at *int) (t Task, text string, changed <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.tasks[id]
	if s == nil {
		return t, "", nil, errNoTask(id)
	}
	text, begins := s.said.from(*at)
	*at = begins + len(text)
	return s.task, text, s.changed, nil
}

func errNoTask(id string) error { return fmt.Errorf("no task has the identifier %.40q", id) }

// Get returns a task as it is known now.
func (o *Outbox) Get(id string) (Task, error) {
	at := 0
	t, _, _, err := o.look(id, &at)
	return t, err
}

// Tasks lists what this node asked, the newest first.
func (o *Outbox) Tasks() []Task {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]Task, 0, len(o.tasks))
	for _, s := range o.tasks {
		list = append(list, s.task)
	}
	slices.SortFunc(list, func(a, b Task) int { return b.Created.Compare(a.Created) })
	return list
}

// Answer answers an agent's question.
func (o *Outbox) Answer(ctx context.Context, id, text string) error {
	t, err := o.Get(id)
	if err != nil {
		return err
	}
	if t.State != InputRequired {
		return fmt.Errorf("the agent %s asks nothing now: the task is %s", t.Brief.Agent, t.State)
	}
	if err := o.call(ctx, http.MethodPost, &t, "/answer", map[string]string{"text": text}); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// It works again, until it says otherwise: who waits is not to see this question.
	if s := o.tasks[id]; s != nil && s.task.State == InputRequired && s.task.Question == t.Question {
		s.task.State, s.task.Question = Working, ""
		o.tell(s)
	}
	return nil
}

// Cancel ends a task. A node that cannot be reached now is told when it can be;
// until then the task is unwanted and has not ended, and the error says so.
func (o *Outbox) Cancel(ctx context.Context, id string) error {
	o.mu.Lock()
	s := o.tasks[id]
	if s == nil || s.task.State.Final() {
		o.mu.Unlock()
		if s == nil {
			return errNoTask(id)
		}
		return nil
	}
	s.task.Unwanted = true
	o.change(s)
	o.mu.Unlock()
	if err := o.withdraw(ctx, s); err != nil {
		return fmt.Errorf("the node is not told yet that the task is cancelled, and will be: %w", err)
	}
	return nil
}

// change keeps and tells what became of a task. The lock is held.
func (o *Outbox) change(s *sent) {
	s.task.Updated = o.cfg.Now()
	if err := o.store.put(&s.task); err != nil {
		o.cfg.Log.Error("a task may be forgotten when this node stops", "task", s.task.ID, "error", err)
	}
	o.tell(s)
}

// note remembers what went wrong at a try, or that nothing did. The lock is held.
func (o *Outbox) note(s *sent, err error) {
	s.task.Trouble = ""
	if err != nil {
		s.task.Trouble = short(err.Error(), MaxQuestion)
	}
}

func (o *Outbox) tell(s *sent) {
	close(s.changed)
	s.changed = make(chan struct{})
}

// end finishes a task, once. The lock is held.
func (o *Outbox) end(s *sent, state State, output, why string) {
	if s.task.State.Final() {
		return
	}
	s.task.State, s.task.Output, s.task.Error, s.task.Question, s.task.Trouble = state, Cut(output), short(why, MaxQuestion), "", ""
	o.change(s)
}

// sweep forgets finished tasks that are old or too many, and of the others what
// their agents said on the way. The lock is held.
func (o *Outbox) sweep() {
	var finished []*Task
	for _, s := range o.tasks {
		if s.task.State.Final() {
			s.said.forget()
			finished = append(finished, &s.task)
		}
	}
	for _, t := range surplus(finished, o.cfg.Kept, o.cfg.Now().Add(-o.cfg.Keep)) {
		if err := o.store.remove(t); err != nil {
			o.cfg.Log.Warn("sweeping tasks", "error", err)
			continue
		}
		delete(o.tasks, t.ID)
	}
}
