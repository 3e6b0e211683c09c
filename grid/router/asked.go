package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

const (
	askedSlot  = 4 << 10 // bytes; a record with the longest name of a model is smaller
	askedSlots = 2 * maxPending
)

// Asked is a file of the requests whose receipts are not here yet, so that a
// router that was killed knows, when it is back, which receipts it may pull and
// what each has to say. Nothing is synced: it is for the death of the program
// and not of the machine, and costs two small writes for each request.
//
// It holds one slot of 4 KiB for each request at a time, which begins with "{"
// while the request waits for its receipt. It is bounded; what finds no slot is
// remembered in memory alone. Make one with [OpenAsked]; a nil one keeps nothing.
type Asked struct {
	file *os.File
	log  *slog.Logger
	left []expected // of an earlier run, oldest first; until takeLeft

	mu    sync.Mutex
	free  []int32 // guarded by mu; slots that were used before, from 1
	slots int32   // guarded by mu; that the file has
	full  bool    // guarded by mu; it was said that a record could not be written
}

// askedRecord is what stands in a slot.
type askedRecord struct {
	Proof  string `json:"proof"` // our signature over the request
	Worker key.ID `json:"worker"`
	Model  string `json:"model"`
	Hash   string `json:"requestHash"`
	Behind int64  `json:"behind"` // the receipt will lie behind this at the worker
	At     int64  `json:"at"`     // Unix milliseconds
}

// OpenAsked opens or makes the file. Slots that cannot be read are freed: they
// were never whole.
func OpenAsked(path string, log *slog.Logger) (*Asked, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the list of receipts to come: %w", err)
	}
	a := &Asked{file: file, log: log}
	if err := a.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the list of receipts to come %s: %w", path, err), file.Close())
	}
	return a, nil
}

// Close closes the file; what is in it waits for the next run.
func (a *Asked) Close() error { return a.file.Close() }

func (a *Asked) read() error {
	slot := make([]byte, askedSlot)
	for a.slots < askedSlots {
		n, err := a.file.ReadAt(slot, int64(a.slots)*askedSlot)
		if n == 0 && err == io.EOF {
			break
		}
		if err != nil && err != io.EOF {
			return err
		}
		a.slots++
		if x, ok := parseAsked(slot[:n], a.slots); ok {
			a.left = append(a.left, x)
		} else {
			a.free = append(a.free, a.slots)
		}
	}
	slices.SortFunc(a.left, func(x, y expected) int { return x.at.Compare(y.at) })
	return nil
}

func parseAsked(slot []byte, number int32) (x expected, ok bool) {
	line, _, whole := bytes.Cut(slot, []byte("\n"))
	var r askedRecord
	if !whole || json.Unmarshal(line, &r) != nil || r.Proof == "" || r.Worker.IsZero() {
		return expected{}, false
	}
	return expected{
		proof: r.Proof, at: time.UnixMilli(r.At), behind: r.Behind, slot: number,
		expect: receipt.Expectation{Worker: r.Worker, Model: r.Model, RequestHash: r.Hash},
	}, true
}

// takeLeft returns what an earlier run left, once.
func (a *Asked) takeLeft() []expected {
	if a == nil {
		return nil
	}
	left := a.left
	a.left = nil
	return left
}

// note writes a request down before it is sent, into the slot that it has
// already or a free one, and returns that; 0 when there is none.
func (a *Asked) note(slot int32, x expected) int32 {
	if a == nil {
		return 0
	}
	line, err := json.Marshal(askedRecord{x.proof, x.expect.Worker, x.expect.Model, x.expect.RequestHash, x.behind, x.at.UnixMilli()})
	if slot == 0 && err == nil {
		slot, err = a.take()
	}
	if err == nil && len(line) >= askedSlot {
		err = errors.New("it is too long")
	}
	if err == nil {
		_, err = a.file.WriteAt(append(line, '\n'), int64(slot-1)*askedSlot)
	}
	if err != nil {
		a.clear(slot)
		a.complain(err)
		return 0
	}
	return slot
}

func (a *Asked) take() (int32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.free); n > 0 {
		slot := a.free[n-1]
		a.free = a.free[:n-1]
		return slot, nil
	}
	if a.slots == askedSlots {
		return 0, fmt.Errorf("%d wait already", askedSlots)
	}
	a.slots++
	return a.slots, nil
}

// clear frees a slot: its receipt is here, or is not expected any more.
func (a *Asked) clear(slot int32) {
	if a == nil || slot == 0 {
		return
	}
	if _, err := a.file.WriteAt([]byte(" "), int64(slot-1)*askedSlot); err != nil {
		a.complain(err) // it is pulled once more after a restart, which the ledger knows
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, slot)
}

// complain says once what went wrong: the answers matter more.
func (a *Asked) complain(err error) {
	a.mu.Lock()
	said := a.full
	a.full = true
	a.mu.Unlock()
	if !said {
		a.log.Warn("cannot note whose receipts are to come; some may be missing if this program is killed", "err", err)
	}
}
