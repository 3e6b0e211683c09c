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

	"golang.org/x/time/rate"

	"lobstah/key"
)

// A Seat is an agent of this node.
type Seat struct {
	ID      string
	Backend Backend
	// Accepts says why a caller's tasks are not taken. Nil takes nobody's.
	Accepts func(Caller) error
	AtOnce  int           // tasks at a time; zero means one
	Idle    time.Duration // without a sign of life; zero means DefaultIdle
}

// DeskConfig says how a desk works. The fields after Who have good zero values.
type DeskConfig struct {
	Dir   string // where tasks are kept
	Seats []Seat
	Who   func(*http.Request) (Caller, error) // who sent a request of the mesh

	Caller  func(key.ID) Caller // who a node is by now, for tasks that waited; nil asks nothing of them
	Self    key.ID              // of this node, whose own tasks need no marks
	Waiting int                 // tasks that may wait for one agent; zero means 16
	Kept    int                 // finished tasks that are remembered; zero means 1,000
	Keep    time.Duration       // for how long; zero means a week
	Rate    rate.Limit          // tasks of one node; zero means one in 2 s, with a burst of 10
	Log     *slog.Logger
	Now     func() time.Time
}

// A Desk takes tasks from other nodes for the agents of this one. Make it with
// OpenDesk, mount it, and call Run, which owns all that runs.
type Desk struct {
	cfg   DeskConfig
	store *store
	wake  chan struct{} // buffered; something may be started

	mu      sync.Mutex // guards what follows; let go by unlock where something changes
	seats   map[string]*seat
	tasks   map[taskKey]*entry
	callers map[key.ID]*rate.Limiter
	changed []*entry // that unlock keeps
}

type taskKey struct {
	node key.ID
	id   string
}

// A seat is an agent with what it works at. The desk's lock guards it.
type seat struct {
	Seat
	running int
	coming  int // that are admitted, and written down before they are in the queue
	queue   []*entry
}

// An entry is a task that the desk knows. The desk's lock guards it.
type entry struct {
	disk sync.Mutex    // held while its file is written, and taken before the desk's lock
	kept chan struct{} // closed once the task was written down, or could not be; nil for one that was read

	task    Task
	said    progress
	changed chan struct{}           // closed at each change, and made anew
	cancel  context.CancelCauseFunc // while it works
	answer  chan string             // while input is required; buffered
}

// OpenDesk reads the tasks that are kept. Those that had not ended go on when
// Run begins.
func OpenDesk(cfg DeskConfig) (*Desk, error) {
	s, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Waiting, cfg.Kept, cfg.Keep = cmp.Or(cfg.Waiting, 16), cmp.Or(cfg.Kept, 1000), cmp.Or(cfg.Keep, 7*24*time.Hour)
	cfg.Rate = cmp.Or(cfg.Rate, rate.Every(2*time.Second))
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Desk{
		cfg: cfg, store: s, wake: make(chan struct{}, 1),
		seats: map[string]*seat{}, tasks: map[taskKey]*entry{}, callers: map[key.ID]*rate.Limiter{},
	}
	for _, a := range cfg.Seats {
		if d.seats[a.ID] != nil || !goodName(a.ID) || a.Backend == nil {
			return nil, fmt.Errorf("agent %.40q: want a name of its own and a backend", a.ID)
		}
		a.AtOnce, a.Idle = cmp.Or(a.AtOnce, 1), cmp.Or(a.Idle, DefaultIdle)
		d.seats[a.ID] = &seat{Seat: a}
	}
	return d, d.restore()
}

// restore takes up what a former process left.
func (d *Desk) restore() error {
	tasks, err := d.store.load()
	if err != nil {
		d.cfg.Log.Warn("some kept tasks cannot be read", "error", err)
	}
	slices.SortFunc(tasks, func(a, b Task) int { return a.Created.Compare(b.Created) })
	d.mu.Lock()
	defer d.unlock()
	for _, t := range tasks {
		e := &entry{task: t, changed: make(chan struct{})}
		d.tasks[taskKey{t.Node, t.ID}] = e
		seat := d.seats[t.Brief.Agent]
		switch {
		case t.State.Final():
		case seat == nil:
			d.end(e, Failed, "", "this node does not offer the agent any longer")
		case t.State != Queued && t.Handle == "":
			d.end(e, Failed, "", ErrLost.Error())
		default:
			seat.queue = append(seat.queue, e)
		}
	}
	return nil
}

// Run works at the tasks until ctx ends and waits for all that it began. A task
// that is under way then stays so in its file: the next process goes on with it,
// or says that it is lost.
func (d *Desk) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	sweep := time.NewTicker(2 * time.Minute)
	defer sweep.Stop()
	for {
		for _, start := range d.ready() {
			workers.Go(func() { d.work(ctx, start.seat, start.entry) })
		}
		select {
		case <-d.wake:
		case <-sweep.C:
			d.mu.Lock()
			d.sweep()
			d.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

type start struct {
	seat  *seat
	entry *entry
}

// ready takes from the queues what may start now.
func (d *Desk) ready() (list []start) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.seats {
		for s.running < s.AtOnce && len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = s.queue[1:]
			s.running++
			list = append(list, start{s, e})
		}
	}
	return list
}

func (d *Desk) nudge() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// change tells what became of a task, and has unlock keep it. The lock is held.
func (d *Desk) change(e *entry) {
	e.task.Updated = d.cfg.Now()
	d.changed = append(d.changed, e)
	d.tell(e)
}

// unlock lets the lock go, and keeps what changed under it: the disk may take its
// time, for which nobody else waits. A task that cannot be kept goes on: it is
// answered as long as the process lives.
func (d *Desk) unlock() {
	changed := d.changed
	d.changed = nil
	d.mu.Unlock()
	for _, e := range changed {
		if err := d.keep(e); err != nil {
			d.cfg.Log.Error("a task may be forgotten when this node stops", "task", e.task.ID, "error", err)
		}
	}
}

// keep writes a task down as it is by now. The lock is not held.
func (d *Desk) keep(e *entry) error {
	e.disk.Lock()
	defer e.disk.Unlock()
	d.mu.Lock()
	t := e.task
	d.mu.Unlock()
	return d.store.put(&t)
}

func (d *Desk) tell(e *entry) {
	close(e.changed)
	e.changed = make(chan struct{})
}

// end finishes a task, once. The lock is held.
func (d *Desk) end(e *entry, state State, output, why string) {
	if e.task.State.Final() {
		return
	}
	e.task.State, e.task.Output, e.task.Error, e.task.Question, e.task.Handle = state, Cut(output), short(why, MaxQuestion), "", ""
	d.change(e)
	d.cfg.Log.Info("a task ended", "agent", e.task.Brief.Agent, "from", e.task.Node.Short(), "task", e.task.ID[:8], "state", state, "why", why)
}

// Tasks lists what was asked of this node's agents, the newest first.
func (d *Desk) Tasks() []Task {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Task, 0, len(d.tasks))
	for _, e := range d.tasks {
		list = append(list, e.task)
	}
	slices.SortFunc(list, func(a, b Task) int { return b.Created.Compare(a.Created) })
	return list
}

// Hops is how many nodes the farthest travelled of the tasks that run here, and of
// the messages that just came, has passed, this one included: what an agent of this
// node asks of others meanwhile may be on its behalf.
func (d *Desk) Hops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	hops := 0
	for _, e := range d.tasks {
		if e.task.State == Working || e.task.State == InputRequired || d.echoes(&e.task) {
			hops = max(hops, e.task.Brief.Hops+1)
		}
	}
	return hops
}

// echo is how long a message may still be what an agent acts upon: it is taken at
// once, and what comes of it is not seen here. Two agents that answer each other's
// messages would go on forever without it.
const echo = 2 * time.Minute

func (d *Desk) echoes(t *Task) bool {
	return t.Brief.Kind == Send && t.State == Done && t.Node != d.cfg.Self && d.cfg.Now().Sub(t.Updated) < echo
}

// Stop ends a task of any node, as this node's owner may.
func (d *Desk) Stop(id string) error {
	d.mu.Lock()
	defer d.unlock()
	for _, e := range d.tasks {
		if e.task.ID == id {
			d.stop(e, "the owner of the node stopped it")
			return nil
		}
	}
	return fmt.Errorf("no task has the identifier %.40q", id)
}

// ErrCancelled is the cause of a Run's end when its task was cancelled.
var ErrCancelled = errors.New("cancelled")

// stop cancels a task. The lock is held.
func (d *Desk) stop(e *entry, why string) {
	if e.cancel != nil {
		e.cancel(fmt.Errorf("%w: %s", ErrCancelled, why)) // its worker ends it when nothing runs any longer
		return
	}
	if s := d.seats[e.task.Brief.Agent]; s != nil {
		s.queue = slices.DeleteFunc(s.queue, func(q *entry) bool { return q == e })
	}
	d.end(e, Cancelled, "", why)
}

// sweep forgets finished tasks that are old or too many, and of the others what
// their agents said on the way. The lock is held.
func (d *Desk) sweep() {
	var finished []*Task
	for _, e := range d.tasks {
		if e.task.State.Final() {
			e.said.forget()
			finished = append(finished, &e.task)
		}
	}
	for _, t := range surplus(finished, d.cfg.Kept, d.cfg.Now().Add(-d.cfg.Keep)) {
		if err := d.store.remove(t); err != nil {
			d.cfg.Log.Warn("sweeping tasks", "error", err)
			continue
		}
		delete(d.tasks, taskKey{t.Node, t.ID})
	}
}
