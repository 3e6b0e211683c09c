package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// childEnv makes the test binary a program that appends until it is killed.
const childEnv = "LOBSTAH_TEST_APPEND_TO"

var childPair = key.FromSeed([32]byte{42})

// runChild is the child's main; -1 says that this process is none.
func runChild() int {
	path := os.Getenv(childEnv)
	if path == "" {
		return -1
	}
	if err := appendForever(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// appendForever appends from several goroutines and acknowledges each durable
// receipt with a line of its nonce.
func appendForever(path string) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	l, err := sqlite.Open(ctx, path, childPair)
	if err != nil {
		return err
	}
	for range 8 {
		go func() {
			for {
				s, err := receipt.Sign(childPair, receipt.Receipt{
					JobID: "crash", Nonce: ledgertest.Nonce(), Requester: receipt.Anonymous, Worker: childPair.ID(), Model: "m",
					InputTokens: 1, StartedAt: ledgertest.Completed, CompletedAt: ledgertest.Completed,
				})
				if err == nil {
					err = l.Append(ctx, ledger.Worker, s)
				}
				if err == nil {
					_, err = os.Stdout.WriteString(s.Nonce + "\n")
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		}()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// crash runs a child until it has acknowledged n receipts, kills it at once
// and returns everything that it acknowledged.
func crash(t *testing.T, path string, n int) (acknowledged []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	for killed := false; ; {
		if len(acknowledged) >= n && !killed {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed = true
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what was cut off was not acknowledged
		}
		acknowledged = append(acknowledged, strings.TrimSuffix(line, "\n"))
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v %s", err, &stderr)
	}
	return acknowledged
}

// TestCrash kills a program in the middle of its appends, again and again, and
// looks for everything that it acknowledged.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	acknowledged := map[string]bool{}
	for round := range rounds {
		for _, nonce := range crash(t, path, rand.IntN(300)) {
			if acknowledged[nonce] {
				t.Fatalf("nonce %s was acknowledged twice", nonce)
			}
			acknowledged[nonce] = true
		}
		if round%3 == 0 { // else the next child recovers the file
			checkCrashed(t, path, acknowledged)
		}
	}
	checkCrashed(t, path, acknowledged)
}

func checkCrashed(t *testing.T, path string, acknowledged map[string]bool) {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path, childPair)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	there := map[string]bool{}
	var text bytes.Buffer
	if _, err := l.Export(t.Context(), &text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		s, err := receipt.Open([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if there[s.Nonce] {
			t.Errorf("nonce %s is there twice", s.Nonce)
		}
		there[s.Nonce] = true
	}
	for nonce := range acknowledged {
		if !there[nonce] {
			t.Errorf("nonce %s was acknowledged and is lost", nonce)
		}
	}
	report, err := l.Verify(t.Context())
	if err != nil || !report.OK() || report.Entries != int64(len(there)) {
		t.Errorf("Verify: %+v, %v", report, err)
	}
	sum, err := l.Balances(t.Context())
	if err != nil || sum.Self.Earned != int64(len(there)) {
		t.Errorf("earned %d of %d, %v", sum.Self.Earned, len(there), err)
	}
	t.Logf("%d acknowledged, %d there", len(acknowledged), len(there))
}

// TestTornLog cuts the write-ahead log at many places and garbles what is
// behind, as a loss of power may. The ledger opens with a beginning of its
// entries, whole and sound.
func TestTornLog(t *testing.T) {
	t.Parallel()
	path, pair := filepath.Join(t.TempDir(), "ledger.db"), key.Generate()
	l, err := sqlite.Open(t.Context(), path, pair)
	if err != nil {
		t.Fatal(err)
	}
	const entries = 40
	appendAll(t, l, 1, sign(t, pair, entries))
	file, log := read(t, path), read(t, path+"-wal")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for cut := 0; cut < len(log)+40_009; cut += 40_009 {
		cut := min(cut, len(log))
		torn := filepath.Join(t.TempDir(), "ledger.db")
		write(t, torn, file)
		write(t, torn+"-wal", append(bytes.Clone(log[:cut]), bytes.Repeat([]byte{0xEE}, min(3000, len(log)-cut))...))
		l, err := sqlite.Open(t.Context(), torn, pair)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(log), err)
		}
		report, err := l.Verify(t.Context())
		if err != nil || !report.OK() || report.Entries < last {
			t.Errorf("cut at %d of %d: %d entries after %d, faults %v, %v", cut, len(log), report.Entries, last, report.Faults, err)
		}
		last = report.Entries
		if err := l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)); err != nil {
			t.Errorf("cut at %d of %d: %v", cut, len(log), err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if last != entries {
		t.Errorf("the whole log gives %d entries, want %d", last, entries)
	}
}

// TestTwoWriters appends to one file through two ledgers at once, as two
// processes do.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	pair := key.Generate()
	var wg sync.WaitGroup
	var ledgers []*sqlite.Ledger
	for range 2 {
		l, err := sqlite.Open(t.Context(), path, pair)
		if err != nil {
			t.Fatal(err)
		}
		ledgers = append(ledgers, l)
	}
	const turns = 20
	for i := range turns { // each finds that the other has appended since
		s := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)
		if err := ledgers[i%2].Append(t.Context(), ledger.Worker, s); err != nil {
			t.Fatalf("turn %d: %v", i, err)
		}
	}
	shared := make([]*receipt.Signed, 100)
	for i := range shared {
		shared[i] = ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)
	}
	var mu sync.Mutex
	kept := 0
	for _, l := range ledgers {
		wg.Go(func() {
			for _, s := range shared {
				err := l.Append(t.Context(), ledger.Worker, s)
				for errors.Is(err, ledger.ErrBusy) { // the disk is slow, and the lock knows no turns
					err = l.Append(t.Context(), ledger.Worker, s)
				}
				mu.Lock()
				switch {
				case err == nil:
					kept++
				case !errors.Is(err, ledger.ErrDuplicate):
					t.Errorf("Append: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if kept != len(shared) {
		t.Errorf("%d appends succeeded, want each receipt once: %d", kept, len(shared))
	}
	for _, l := range ledgers {
		report, err := l.Verify(t.Context())
		if err != nil || !report.OK() || report.Entries != int64(turns+len(shared)) {
			t.Errorf("Verify: %+v, %v", report, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
