package tracker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/openai"
)

// A Config says how a tracker behaves. Store is required; every other zero
// value means the default that is named.
type Config struct {
	Store Store

	// Allow judges the place that a worker names, before it is listed; nil
	// allows all.
	Allow func(grid.Peer) error
	// Reach asks a worker at the place that it names for its key. With it,
	// nobody is listed who cannot be reached; nil means that nobody is asked.
	Reach func(context.Context, grid.Peer) error

	MaxPeers  int // keys, those withdrawn within the hour included; 0 means 150,000
	MaxBytes  int // of envelopes; 0 means 160 MiB
	MaxShare  int // keys from one address prefix; 0 means a tenth of MaxPeers
	MaxStream int // readers of GET /peers/stream; 0 means 256, a sixteenth of it from one prefix

	Announces Rate           // POST requests of an address prefix; zero means 20 a second, 200 at once
	Renewals  Rate           // announcements of one key; zero means one in 5 s, 12 at once
	Reads     Rate           // answers to an address prefix, a search counting as 10; zero means 50 a second, 500 at once
	Proxies   []netip.Prefix // whose X-Forwarded-For is believed

	Logger *slog.Logger     // nil means slog.Default
	Now    func() time.Time // nil means time.Now
}

func (c *Config) setDefaults() {
	c.MaxPeers = cmp.Or(c.MaxPeers, 150_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 160<<20)
	c.MaxShare = cmp.Or(c.MaxShare, max(c.MaxPeers/10, 1))
	c.MaxStream = cmp.Or(c.MaxStream, 256)
	c.Announces = cmp.Or(c.Announces, Rate{time.Second / 20, 200})
	c.Renewals = cmp.Or(c.Renewals, Rate{5 * time.Second, 12})
	c.Reads = cmp.Or(c.Reads, Rate{time.Second / 50, 500})
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// A Tracker is the directory. Get one from [New]; it is safe for concurrent
// use.
type Tracker struct {
	config  Config
	index   *index
	changes *changes
	epoch   string        // of cursors and event numbers
	ready   chan struct{} // closed when the store has told all it had
	readers readers

	announces *limiter[network]
	reads     *limiter[network]
	probes    *limiter[string] // by host that is reached for
	probing   chan struct{}    // one token for each probe that runs
	searching chan struct{}    // one token for each long search that runs
}

const (
	maxBuckets    = 1 << 16
	maxProbes     = 32
	searchCost    = 10
	readAtATime   = 64 << 10
	probeMemory   = 10 * time.Minute
	probePatience = 5 * time.Second
	readLimit     = 15 * time.Second
	answerLimit   = 2 * time.Minute
)

// MemoryLimit is what a process that serves 100,000 peers should tell
// [runtime/debug.SetMemoryLimit]: more is garbage that was not collected yet.
const MemoryLimit = 272 << 20

// New makes a tracker from c. It lists what its store has once [Tracker.Run]
// runs.
func New(c Config) *Tracker {
	c.setDefaults()
	t := &Tracker{
		config:    c,
		changes:   &changes{},
		epoch:     strconv.FormatInt(c.Now().UnixMilli(), 36),
		ready:     make(chan struct{}),
		announces: newLimiter[network](c.Announces, maxBuckets),
		reads:     newLimiter[network](c.Reads, maxBuckets),
		probes:    newLimiter[string](Rate{10 * time.Second, 5}, maxBuckets),
		probing:   make(chan struct{}, maxProbes),
		searching: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
	}
	t.readers.max, t.readers.share = c.MaxStream, max(c.MaxStream/16, 1)
	t.readers.from = map[network]int{}
	t.index = newIndex(limits{c.MaxPeers, c.MaxBytes, c.MaxShare}, c.Renewals, c.Now, t.changes)
	return t
}

// Run follows the store and ends what is over, until ctx ends or the store
// fails.
func (t *Tracker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { t.tick(ctx) })
	return t.follow(ctx)
}

// Ready is closed when everything that the store had is listed.
func (t *Tracker) Ready() <-chan struct{} { return t.ready }

// tick lets the readers of streams hear in time of what ended.
func (t *Tracker) tick(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.index.turn()
		}
	}
}

// follow takes up what the store says. Signatures are checked by all cores,
// since the first records may be many; the order of records of different keys
// does not matter, and what came late is superseded.
func (t *Tracker) follow(ctx context.Context) error {
	batch := make([]Record, 0, stride)
	for r, err := range t.config.Store.Watch(ctx) {
		if err != nil {
			return err
		}
		first := r.ID.IsZero()
		if !first {
			batch = append(batch, r)
		}
		if first || len(batch) == cap(batch) || t.isReady() {
			t.takeAll(batch)
			batch = batch[:0]
		}
		if first {
			close(t.ready)
		}
	}
	if ctx.Err() != nil {
		return nil // it was asked to stop
	}
	return errors.New("the tracker's store stopped telling of changes")
}

func (t *Tracker) isReady() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

func (t *Tracker) takeAll(batch []Record) {
	if len(batch) == 1 {
		t.take(batch[0])
		return
	}
	work := make(chan Record)
	var tasks sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		tasks.Go(func() {
			for r := range work {
				t.take(r)
			}
		})
	}
	for _, r := range batch {
		work <- r
	}
	close(work)
	tasks.Wait()
}

// take takes up one record of the store. What the index knows already, because
// it came through this tracker, costs only a look.
func (t *Tracker) take(r Record) {
	if t.index.knows(r) {
		return
	}
	if r.Withdrawn() {
		if t.index.remembers(r.ID) {
			t.index.withdraw(r.ID, r.At)
		}
		return
	}
	now := t.config.Now()
	s, err := announce.Open([]byte(r.Envelope), now)
	switch {
	case errors.Is(err, announce.ErrStale):
		t.index.withdraw(r.ID, r.At) // nothing older counts either
	case err != nil || s.ID != r.ID || s.AnnouncedAt.UnixMilli() != r.At:
		t.config.Logger.Warn("the store has a record that does not hold; it is not listed", "key", r.ID, "error", err)
	case t.index.admits(s.ID, network{}, len(r.Envelope)) == accepted:
		t.index.put(s, r.Envelope, network{}, probe{s.URL, now.UnixNano()})
	}
}

// ServeHTTP answers all routes of a tracker.
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limitTime(w)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch path := r.URL.Path; {
	case path == "/announce" && r.Method == http.MethodPost:
		t.serveAnnounce(w, r)
	case path == "/unannounce" && r.Method == http.MethodPost:
		t.serveUnannounce(w, r)
	case path == "/" && reads:
		t.serveRoot(w, r)
	case path == "/peers" && reads:
		t.servePeers(w, r)
	case path == "/peers/stream" && r.Method == http.MethodGet:
		t.serveStream(w, r)
	case path == "/search" && reads:
		t.serveSearch(w, r)
	case (path == "/peers" || path == "/peers/stream") && r.Method == http.MethodOptions:
		servePreflight(w)
	case reads && servePart(w, r):
	default:
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(http.StatusNotFound)
		send(w, []byte("404 Not Found"))
	}
}

// limitTime ends requests that trickle in and answers that nobody takes. A
// connection that knows no deadlines has other ways to end.
func limitTime(w http.ResponseWriter) {
	control, now := http.NewResponseController(w), time.Now()
	_ = control.SetReadDeadline(now.Add(readLimit))
	_ = control.SetWriteDeadline(now.Add(answerLimit))
}

// serveRoot answers programs as the original does, and browsers with a page.
func (t *Tracker) serveRoot(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if wantsPage(r) {
		servePage(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	send(w, []byte("lobstah-tracker (live peers: "+strconv.Itoa(t.index.live())+")\n"))
}

// send writes an answer; a client that left needs none.
func send(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }

// fail answers with an error of ours, in OpenAI's shape. The original's clients
// read its type.
func fail(w http.ResponseWriter, e *openai.Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	send(w, e.JSON())
}

func tooMany(wait time.Duration, what string) *openai.Error {
	return &openai.Error{
		Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "rate_limited",
		Message: "too many requests " + what + "; try again later", RetryAfter: max(wait, time.Second),
	}
}
