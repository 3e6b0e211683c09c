package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"lobstah/key"
	"lobstah/receipt"
)

// A Row is an entry as a backend stores it: the facts that it looks things up
// by, and the bytes that are the truth.
type Row struct {
	Seq               int64
	Side              Side
	Imported          bool
	Counted           bool // changed the accounts: a nonce counts once, whatever its sides
	Nonce             string
	Worker, Requester string
	Model             string
	Completed         time.Time
	Envelope          []byte
}

// A Fault is one thing that is wrong.
type Fault struct {
	Seq    int64  `json:"seq,omitempty"` // the entry's, 0 when it is about the whole
	Nonce  string `json:"nonce,omitempty"`
	Reason string `json:"reason"`
}

func (f Fault) String() string {
	if f.Seq == 0 {
		return f.Reason
	}
	return fmt.Sprintf("entry %d (nonce %s): %s", f.Seq, f.Nonce, f.Reason)
}

// maxFaults caps how many faults about entries, and how many about the whole,
// a report names; it counts all.
const maxFaults = 100

// A Report is the outcome of Verify.
type Report struct {
	Owner       key.ID    `json:"pubkey"`
	Entries     int64     `json:"entries"`
	Imported    int64     `json:"imported"`
	Root        tlog.Hash `json:"root"` // recomputed from the entries
	Checkpoints int64     `json:"checkpoints"`
	Signed      int64     `json:"signedEntries"` // under the last good checkpoint
	Faults      []Fault   `json:"faults"`        // the first 100 of entries and of the whole
	FaultCount  int64     `json:"faultCount"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return r.FaultCount == 0 }

// An Audit recomputes from the entries what a backend maintains, and compares.
// Call Entries for all rows in order, then Finish. Not safe for concurrent use.
type Audit struct {
	report   Report
	tree     Tree
	read     ReadTile
	accounts map[string]Account

	ofEntries, ofWhole int // faults of either kind
}

// NewAudit begins the check of owner's ledger.
func NewAudit(owner key.ID, read ReadTile) *Audit {
	return &Audit{
		report:   Report{Owner: owner, Faults: []Fault{}},
		read:     read,
		accounts: make(map[string]Account),
	}
}

// Fault records something that is wrong.
func (a *Audit) Fault(f Fault) {
	a.report.FaultCount++
	kind := &a.ofWhole
	if f.Seq != 0 {
		kind = &a.ofEntries
	}
	if *kind++; *kind <= maxFaults {
		a.report.Faults = append(a.report.Faults, f)
	}
}

// Entries checks the next rows, and the signed notes of trees that end within
// them (sizes above the first row's Seq-1, up to the last row's Seq).
func (a *Audit) Entries(rows []Row, notes [][]byte) {
	checkpoints := a.open(notes)
	for i, opened := range openAll(rows) {
		a.entry(&rows[i], opened)
		if c, ok := checkpoints[a.tree.Size()]; ok {
			a.checkpoint(c)
		}
	}
	a.tiles()
}

// open verifies the notes and returns them by size.
func (a *Audit) open(notes [][]byte) map[int64]Checkpoint {
	list := make(map[int64]Checkpoint, len(notes))
	for _, n := range notes {
		a.report.Checkpoints++
		c, err := OpenCheckpoint(a.report.Owner, n)
		if err != nil {
			a.Fault(Fault{Reason: err.Error()})
			continue
		}
		list[c.Size] = c
	}
	return list
}

func (a *Audit) checkpoint(c Checkpoint) {
	if c.Root != a.tree.Root() {
		a.Fault(Fault{Reason: fmt.Sprintf("the first %d entries are not those of the signed checkpoint: root %s, signed %s", c.Size, a.tree.Root(), c.Root)})
		return
	}
	a.report.Signed = c.Size
}

type opened struct {
	signed *receipt.Signed
	err    error
}

// openAll verifies signatures on every core; it returns when all are done.
func openAll(rows []Row) []opened {
	list := make([]opened, len(rows))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(rows); i += workers {
				list[i].signed, list[i].err = receipt.Open(rows[i].Envelope)
			}
		})
	}
	wg.Wait()
	return list
}

func (a *Audit) entry(row *Row, o opened) {
	fault := func(format string, args ...any) {
		a.Fault(Fault{row.Seq, row.Nonce, fmt.Sprintf(format, args...)})
	}
	a.report.Entries++
	if row.Imported {
		a.report.Imported++
	}
	if want := a.tree.Size() + 1; row.Seq != want {
		fault("it stands where entry %d should", want)
	}
	a.tree.Append(row.Envelope)
	if o.err != nil {
		fault("%v", o.err)
		return
	}
	if field := row.differs(o.signed); field != "" {
		fault("the stored %s is not the receipt's", field)
	}
	if !row.Imported && CheckSide(a.report.Owner, row.Side, &o.signed.Receipt) != nil {
		fault("it is accepted on the %s side, which is not ours", row.Side)
	}
	if !row.Counted {
		return
	}
	for _, change := range Post(&o.signed.Receipt, row.Side, row.Imported) {
		account := a.accounts[change.Name]
		account.Name = change.Name
		a.accounts[change.Name] = account.Plus(change)
	}
}

// differs names the first stored fact that is not what the receipt says.
func (row *Row) differs(s *receipt.Signed) string {
	switch {
	case !bytes.Equal(row.Envelope, s.Envelope()):
		return "text"
	case row.Nonce != s.Nonce:
		return "nonce"
	case row.Worker != s.Worker.String():
		return "worker"
	case row.Requester != s.Requester:
		return "requester"
	case row.Model != s.Model:
		return "model"
	case !row.Completed.Equal(s.CompletedAt):
		return "time of completion"
	}
	return ""
}

// tiles compares the stored hashes of what was added.
func (a *Audit) tiles() {
	for _, tile := range a.tree.Changed() {
		stored, err := a.read(tile.Level, tile.N)
		switch {
		case err != nil:
			a.Fault(Fault{Reason: fmt.Sprintf("tile %d of level %d of the tree: %v", tile.N, tile.Level, err)})
		case !bytes.HasPrefix(stored, tile.Hashes):
			a.Fault(Fault{Reason: fmt.Sprintf("tile %d of level %d of the tree does not fit the entries", tile.N, tile.Level)})
		}
	}
}

// Finish compares the stored size, root and accounts with the recomputed ones.
func (a *Audit) Finish(size int64, root tlog.Hash, accounts []Account) Report {
	if size != a.tree.Size() {
		a.Fault(Fault{Reason: fmt.Sprintf("the tree has %d entries, %d are there", size, a.tree.Size())})
	} else if root != a.tree.Root() {
		a.Fault(Fault{Reason: fmt.Sprintf("the entries give the root %s, stored is %s", a.tree.Root(), root)})
	}
	for _, stored := range accounts {
		computed := a.accounts[stored.Name]
		computed.Name = stored.Name
		if computed != stored {
			a.Fault(Fault{Reason: fmt.Sprintf("account %s is stored as %+v, its receipts give %+v", stored.Name, stored, computed)})
		}
		delete(a.accounts, stored.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(a.accounts)) {
		a.Fault(Fault{Reason: fmt.Sprintf("account %s is missing", name)})
	}
	a.report.Root = a.tree.Root()
	return a.report
}
