package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"lobstah/internal/durable"
)

// journal writes a batch's results to its two files. What waits is written
// together and synced once. A result counts when it is synced.
type journal struct {
	store  *store
	log    *slog.Logger
	output part
	errors part
	queue  chan written // bounded: who is ahead of the disk waits
	done   chan struct{}

	pending sync.WaitGroup // of results that were handed over
}

// part is one of the files.
type part struct {
	path string
	file *os.File // nil until something is written
	size int64    // of whole, synced lines
}

// written is a result on its way to the disk.
type written struct {
	text   []byte
	failed bool
	kept   func() // called when it is synced
}

const (
	journalQueue = 64
	diskPause    = 5 * time.Second // after a write that failed
)

// recovered is what a former process kept.
type recovered struct {
	customID string
	failed   bool
	body     json.RawMessage
}

// openJournal reads what a former process wrote, cuts off a torn last line, and
// calls found for each result.
func openJournal(st *store, id string, log *slog.Logger, found func(recovered)) (*journal, error) {
	j := &journal{
		store: st, log: log, queue: make(chan written, journalQueue), done: make(chan struct{}),
		output: part{path: st.outputPath(id)}, errors: part{path: st.errorsPath(id)},
	}
	for _, p := range []*part{&j.output, &j.errors} {
		before := fileSize(p.path)
		if err := p.recover(p == &j.errors, found); err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", p.path, err), j.closeFiles())
		}
		if torn := before - p.size; torn > 0 {
			log.Warn("cut off what a crash left half written; its lines are asked again", "file", p.path, "bytes", torn)
			st.release(torn)
		}
	}
	return j, nil
}

func fileSize(path string) int64 {
	if info, err := os.Stat(path); err == nil {
		return info.Size()
	}
	return 0
}

// maxResult caps a line that is read back; more than any that was written.
const maxResult = 128 << 20

func (p *part) recover(failed bool, found func(recovered)) error {
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p.file = f
	for l, err := range lines(f, maxResult) {
		if err != nil {
			return err
		}
		var r result
		if !l.whole || json.Unmarshal(l.text, &r) != nil {
			break // the crash was here
		}
		kept := recovered{customID: r.CustomID, failed: failed}
		if r.Response != nil {
			kept.body = r.Response.Body
		}
		found(kept)
		p.size = l.offset + int64(l.length) + 1
	}
	if err := f.Truncate(p.size); err != nil {
		return err
	}
	_, err = f.Seek(p.size, io.SeekStart)
	return err
}

// put hands a result over. It waits while the disk is behind.
func (j *journal) put(r *result, failed bool, kept func()) error {
	text, err := encode(r)
	if err != nil {
		return err
	}
	j.pending.Add(1)
	j.queue <- written{text, failed, kept}
	return nil
}

// settle waits until all that was handed over is written, or given up.
func (j *journal) settle() { j.pending.Wait() }

// encode writes a result on one line, without the escapes that HTML would need.
func encode(r *result) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return b.Bytes(), err
}

// run writes until finish is called. A full disk is waited out: what is in
// flight stays in memory, and nothing new is asked.
func (j *journal) run(ctx context.Context) {
	defer close(j.done)
	for w := range j.queue {
		group := []written{w}
		for more := true; more && len(group) < journalQueue; {
			select {
			case next, open := <-j.queue:
				if more = open; open {
					group = append(group, next)
				}
			default:
				more = false
			}
		}
		kept := j.insist(ctx, group) // else the next process asks these again
		for _, w := range group {
			if kept {
				w.kept()
			}
			j.pending.Done()
		}
	}
}

// insist writes a group, again and again if need be.
func (j *journal) insist(ctx context.Context, group []written) bool {
	var output, errs []byte
	for _, w := range group {
		if w.failed {
			errs = append(errs, w.text...)
		} else {
			output = append(output, w.text...)
		}
	}
	return j.insistOn(ctx, &j.output, output) && j.insistOn(ctx, &j.errors, errs)
}

func (j *journal) insistOn(ctx context.Context, p *part, text []byte) bool {
	for {
		err := p.append(j.store, text)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		j.log.Error("cannot keep answers of a batch; trying again", "err", err, "in", diskPause)
		select {
		case <-time.After(diskPause):
		case <-ctx.Done():
		}
	}
}

var errDiskBudget = errors.New("the batches' share of the disk is used up; delete files that are no longer needed")

// append adds whole lines, all or nothing.
func (p *part) append(st *store, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if !st.reserve(int64(len(text))) {
		return errDiskBudget
	}
	err := p.open()
	if err == nil {
		_, err = p.file.WriteAt(text, p.size)
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err != nil {
		st.release(int64(len(text)))
		return err // what was written in part is written over next time
	}
	p.size += int64(len(text))
	return nil
}

func (p *part) open() (err error) {
	if p.file != nil {
		return nil
	}
	if err := durable.WriteFile(p.path, nil, 0o600); err != nil { // its name survives, too
		return err
	}
	p.file, err = os.OpenFile(p.path, os.O_RDWR, 0)
	return err
}

// finish writes what was handed over, and closes the files. Nobody may put
// any more.
func (j *journal) finish() error {
	close(j.queue)
	<-j.done
	return j.closeFiles()
}

func (j *journal) closeFiles() error {
	var errs []error
	for _, p := range []*part{&j.output, &j.errors} {
		if p.file == nil {
			continue
		}
		if info, err := p.file.Stat(); err == nil && info.Size() != p.size {
			errs = append(errs, p.file.Truncate(p.size))
		}
		errs = append(errs, p.file.Close())
		p.file = nil
	}
	return errors.Join(errs...)
}
