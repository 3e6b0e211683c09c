package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

// A LearnerConfig says where peers are learned from. Every zero value but
// Sources means the default that is named.
type LearnerConfig struct {
	Sources  []Source
	Interval time.Duration // between two questions to one source; 0 means a minute
	Self     key.ID        // who is left out
	Allow    func(grid.Peer) error
	Limits   Limits
	// Store keeps what was learned over a restart; nil keeps nothing.
	Store Store
	// Changed is called, from one goroutine at a time, after the list changed.
	Changed func()
	Logger  *slog.Logger // nil means slog.Default
}

// A Store keeps sightings. Its methods are called by one goroutine at a time.
type Store interface {
	// Load returns all sightings of all sources.
	Load(context.Context) ([]Kept, error)
	// Save replaces what is kept of one source.
	Save(ctx context.Context, source string, kept []Kept) error
}

// A Kept is a sighting with the newest offer of its peer.
type Kept struct {
	ID       key.ID
	Envelope []byte // is checked again when it is loaded
	Sighting
}

// A Learner asks sources for peers, each for itself, and keeps a table of what
// they told. Get one from [NewLearner]; it is safe for concurrent use.
type Learner struct {
	config LearnerConfig
	asked  []*asked
	peers  atomic.Pointer[[]grid.Peer]

	mu    sync.Mutex
	table *table // guarded by mu
	stale bool   // guarded by mu; the table changed since peers was made

	saving   sync.Mutex // held while the store is used
	changing sync.Mutex // held while peers is made and told of
}

// asked is a source and how asking it goes.
type asked struct {
	source Source
	name   string

	mu    sync.Mutex // one question at a time
	state SourceState
	guard sync.Mutex // guards state
}

// A SourceState tells how asking one source goes.
type SourceState struct {
	Name     string
	LastOK   time.Time // zero when it never answered to the end
	Failures int       // in a row, since LastOK
	LastErr  error     // nil when the last answer was complete
	Peers    int       // that it shows
	Refused  int       // of its last answer, for want of room
	Next     time.Time // when it is asked again
}

const (
	collectLimit = time.Minute // for one source to answer
	slowest      = 10          // a source that fails is asked no less often than once in so many intervals
	turnEvery    = time.Second // how late the list may show what a source told
)

// NewLearner makes a learner, which knows nobody before [Learner.Restore],
// [Learner.Collect] or [Learner.Run].
func NewLearner(c LearnerConfig) *Learner {
	c.Interval = cmp.Or(c.Interval, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	l := &Learner{config: c, table: newTable(c.Limits, len(c.Sources))}
	l.peers.Store(&[]grid.Peer{})
	for _, s := range c.Sources {
		l.asked = append(l.asked, &asked{source: s, name: s.Name(), state: SourceState{Name: s.Name()}})
	}
	return l
}

// Peers returns the learned peers, ordered by key; the same slice until one of
// them changes. The caller must not change it.
func (l *Learner) Peers() []grid.Peer { return *l.peers.Load() }

// List returns all that is known of the learned peers, ordered by key.
func (l *Learner) List() []Learned {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = l.table.expire(wall()) || l.stale
	return l.table.list()
}

// Sources tells of each source, in the order in which they were given.
func (l *Learner) Sources() []SourceState {
	list := make([]SourceState, len(l.asked))
	for i, a := range l.asked {
		list[i] = a.read()
		l.mu.Lock()
		shelf := l.table.shelf(a.name)
		list[i].Peers, list[i].Refused = shelf.peers, shelf.refused
		l.mu.Unlock()
	}
	return list
}

// Restore takes up what the store kept, of sources that are no longer asked
// too. What is over, or was damaged, is left out.
func (l *Learner) Restore(ctx context.Context) error {
	if l.config.Store == nil {
		return nil
	}
	l.saving.Lock()
	kept, err := l.config.Store.Load(ctx)
	l.saving.Unlock()
	if err != nil {
		return fmt.Errorf("load learned peers: %w", err)
	}
	now := wall()
	for _, k := range kept {
		if offer, err := announce.Open(k.Envelope, now); err == nil && offer.ID == k.ID {
			l.take(k.Source, Found{offer, k.Origin, k.Where, k.URL}, &k.Sighting)
		}
	}
	l.turn()
	return nil
}

// Run asks the sources until ctx ends.
func (l *Learner) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	for _, a := range l.asked {
		tasks.Go(func() { l.follow(ctx, a) })
	}
	tasks.Go(func() { l.turns(ctx) })
	tasks.Wait()
}

// Collect asks every source once, at the same time, and returns how that went.
func (l *Learner) Collect(ctx context.Context) []SourceState {
	var tasks sync.WaitGroup
	for _, a := range l.asked {
		tasks.Go(func() { l.ask(ctx, a) })
	}
	tasks.Wait()
	return l.Sources()
}

// follow asks one source again and again.
func (l *Learner) follow(ctx context.Context, a *asked) {
	for ctx.Err() == nil {
		a.rest(ctx, l.ask(ctx, a))
	}
}

// turns keeps the list that routers see up to date.
func (l *Learner) turns(ctx context.Context) {
	ticker := time.NewTicker(turnEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.turn()
		}
	}
}

// ask asks a source once and returns how long to leave it alone.
func (l *Learner) ask(ctx context.Context, a *asked) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, collectLimit)
	defer cancel()
	l.mu.Lock()
	l.table.begin(a.name)
	l.mu.Unlock()
	err := a.source.Collect(limited, func(f Found) { l.take(a.name, f, nil) })
	l.mu.Lock()
	l.table.end(a.name, err == nil)
	kept := l.kept(a.name)
	l.stale = true
	l.mu.Unlock()
	l.turn()
	l.save(ctx, a.name, kept)
	if err != nil && ctx.Err() != nil {
		return 0 // it was stopped, which says nothing of the source
	}
	return l.note(a, err)
}

// take puts what a source showed into the table; before is when it was seen in
// an earlier life.
func (l *Learner) take(source string, f Found, before *Sighting) {
	p := f.Offer.Peer(f.Origin)
	if f.URL != "" {
		p.URL = f.URL
	}
	if p.ID == l.config.Self || p.Origin.Trusted() || l.config.Allow != nil && l.config.Allow(p) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.table.take(source, f, wall()) {
		return
	}
	l.stale = true
	if s := l.table.peers[p.ID].seen[source]; before != nil {
		s.First, s.Last = before.First, before.Last
	}
}

// turn drops what is over and makes the list anew when it changed.
func (l *Learner) turn() {
	l.changing.Lock()
	defer l.changing.Unlock()
	l.mu.Lock()
	l.stale = l.table.expire(wall()) || l.stale
	if !l.stale {
		l.mu.Unlock()
		return
	}
	l.stale = false
	var list []grid.Peer
	for _, v := range l.table.list() {
		list = append(list, v.Peer)
	}
	l.mu.Unlock()
	if slices.Equal(list, l.Peers()) {
		return
	}
	l.peers.Store(&list)
	if l.config.Changed != nil {
		l.config.Changed()
	}
}

// kept is what the store should have of a source. The caller holds mu.
func (l *Learner) kept(source string) []Kept {
	var list []Kept
	for id, entry := range l.table.peers {
		if s := entry.seen[source]; s != nil {
			list = append(list, Kept{id, entry.offer.Envelope(), s.Sighting})
		}
	}
	return list
}

func (l *Learner) save(ctx context.Context, source string, kept []Kept) {
	if l.config.Store == nil {
		return
	}
	l.saving.Lock()
	defer l.saving.Unlock()
	// What was learned is kept even if the learner was stopped meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	if err := l.config.Store.Save(ctx, source, kept); err != nil {
		l.config.Logger.Error("learned peers were not kept", "source", source, "error", err)
	}
}

// note writes down how asking went and returns how long to wait.
func (l *Learner) note(a *asked, err error) time.Duration {
	a.guard.Lock()
	defer a.guard.Unlock()
	s := &a.state
	wait := jitter(l.config.Interval)
	if err == nil || errors.Is(err, ErrPart) {
		s.LastOK, s.Failures = wall(), 0
	} else {
		if s.LastErr == nil {
			l.config.Logger.Warn("could not ask for peers; trying again", "source", a.name, "error", err)
		}
		wait = max(wait, backoff(l.config.Interval, slowest*l.config.Interval, s.Failures))
		if later, ok := errors.AsType[*LaterError](err); ok {
			wait = max(wait, min(later.After, 2*lastRetry))
		}
		s.Failures++
	}
	s.LastErr, s.Next = err, wall().Add(wait)
	return wait
}

func (a *asked) read() SourceState {
	a.guard.Lock()
	defer a.guard.Unlock()
	return a.state
}

// rest waits, by the clock of the wall.
func (a *asked) rest(ctx context.Context, wait time.Duration) {
	for due := wall().Add(wait); ; {
		left := due.Sub(wall())
		if left <= 0 || left > wait+time.Minute { // or the clock was put back
			return
		}
		if !nap(ctx, min(left, checkEvery)) {
			return
		}
	}
}
