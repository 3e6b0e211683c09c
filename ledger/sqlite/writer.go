package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

// maxBatch bounds the entries of one transaction.
const maxBatch = 1024

// A writer is the goroutine that owns the connection for writing, with its
// prepared statements, and the edge of the tree. Others only send requests.
type writer struct {
	ledger *Ledger
	pair   key.Pair
	db     *sql.DB
	conn   *sql.Conn
	stmts  statements
	tree   *ledger.Tree // nil when it must be read again
	signed signedTree
	now    func() time.Time

	requests chan request // unbuffered: whoever waits to send is the queue
	stop     chan struct{}
	done     chan struct{} // closed when the goroutine has ended
	err      error         // of the last checkpoint and of closing; read after done
}

// signedTree is what the newest checkpoint covers.
type signedTree struct {
	size int64
	at   time.Time
	note []byte
}

// A request asks for entries to be appended together, or for a checkpoint.
type request struct {
	items  []item
	sign   bool
	answer chan<- answer
}

// An item is a receipt to append, a change of other tables, or both as one.
type item struct {
	side     ledger.Side
	signed   *receipt.Signed
	imported bool
	change   Change
}

// An answer has an error for each item, or one for the whole request.
type answer struct {
	errs []error
	note []byte
	err  error
}

// startWriter opens the connection for writing and starts the goroutine.
func startWriter(ctx context.Context, l *Ledger, pair key.Pair) (*writer, error) {
	w := &writer{
		ledger: l, pair: pair, now: time.Now,
		requests: make(chan request), stop: make(chan struct{}), done: make(chan struct{}),
		db: openDB(l.path, 1, "mode=rw", "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)",
			"checkpoint_fullfsync(1)", "wal_autocheckpoint(4000)", "cache_size(-4096)"),
	}
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, w.release())
	}
	go w.run()
	return w, nil
}

// prepare brings the file up to date and checks that it is sound where the
// next append needs it, and ours.
func (w *writer) prepare(ctx context.Context) (err error) {
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, w.conn); err != nil {
		return err
	}
	owner, err := readOwner(ctx, w.conn)
	if err != nil {
		return err
	}
	if owner != w.pair.ID() {
		return fmt.Errorf("%w: it belongs to %s, this identity is %s", ledger.ErrNotOurs, owner, w.pair.ID())
	}
	if w.stmts, err = prepareAll(ctx, w.conn); err != nil {
		return err
	}
	return w.load(ctx)
}

// release closes the connection; the last one to close empties the WAL.
func (w *writer) release() error {
	err := w.stmts.close()
	if w.conn != nil {
		err = errors.Join(err, w.conn.Close())
	}
	return errors.Join(err, w.db.Close())
}

// close stops the goroutine after what it has taken in, and waits for it.
func (w *writer) close() error {
	close(w.stop)
	<-w.done
	return w.err
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case first := <-w.requests:
			w.serve(w.gather(first))
		case <-w.stop:
			w.finish()
			return
		}
	}
}

// finish signs what is unsigned and closes the connection.
func (w *writer) finish() {
	if w.tree != nil && w.tree.Size() > w.signed.size && w.ledger.damaged() == nil {
		w.err = w.transact(nil, nil, true)
	}
	w.err = errors.Join(w.err, w.release())
}

// gather takes in what waits by now, without waiting for more: while one
// group is being synced, the next one forms.
func (w *writer) gather(first request) []request {
	group := []request{first}
	for n := len(first.items); n < maxBatch; {
		select {
		case r := <-w.requests:
			group = append(group, r)
			n += len(r.items)
		default:
			return group
		}
	}
	return group
}

// serve makes one transaction of a group and answers everybody in it.
func (w *writer) serve(group []request) {
	var items []item
	sign := false
	for _, r := range group {
		items = append(items, r.items...)
		sign = sign || r.sign
	}
	errs := make([]error, len(items))
	err := w.transact(items, errs, sign)
	if err != nil {
		err = w.ledger.explain("append to", err)
	}
	for _, r := range group {
		n := len(r.items)
		r.answer <- answer{slices.Clip(errs[:n]), w.signed.note, err}
		errs = errs[n:]
	}
}

// send hands a request to the writer, who answers each one that it took.
func (l *Ledger) send(ctx context.Context, r request) (<-chan answer, error) {
	if l.write == nil {
		return nil, l.explain("append to", ledger.ErrReadOnly)
	}
	if err := l.damaged(); err != nil {
		return nil, err
	}
	reply := make(chan answer, 1)
	r.answer = reply
	select {
	case l.write.requests <- r:
		return reply, nil
	case <-ctx.Done():
		return nil, l.explain("append to", context.Cause(ctx))
	case <-l.write.stop:
		return nil, l.explain("append to", ledger.ErrClosed)
	}
}

// ask sends a request and waits for its answer.
func (l *Ledger) ask(ctx context.Context, r request) (answer, error) {
	reply, err := l.send(ctx, r)
	if err != nil {
		return answer{}, err
	}
	select {
	case a := <-reply:
		return a, a.err
	case <-ctx.Done():
		return answer{}, l.explain("append to", context.Cause(ctx))
	}
}
