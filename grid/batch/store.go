package batch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/internal/durable"
	"lobstah/openai"
)

// store is the folder:
//
//	files/ID          the bytes of a file
//	files/ID.json     what it is; without this, the bytes do not count
//	files/*.part      an upload that is not complete
//	batches/ID.json   what a batch is
//	batches/ID.output answers so far, batches/ID.errors errors so far
//
// What it is stands in memory, too; the numbers of both are limited.
type store struct {
	dir    string
	limits Limits

	mu      sync.Mutex
	files   map[string]*fileRecord  // guarded by mu; records are not changed
	batches map[string]*batchRecord // guarded by mu; records are replaced, not changed
	used    int64                   // guarded by mu; bytes on disk, those being written too
	last    int64                   // guarded by mu; the latest stamp
}

const recordVersion = 1

// fileRecord is files/ID.json.
type fileRecord struct {
	Version int    `json:"version"`
	Owner   string `json:"owner,omitempty"`
	Made    int64  `json:"made"` // Unix nanoseconds, made unique: the order of lists
	File
}

// batchRecord is batches/ID.json.
type batchRecord struct {
	Version     int    `json:"version"`
	Owner       string `json:"owner,omitempty"`
	Made        int64  `json:"made"`
	OutputID    string `json:"outputId"` // that the files of answers and errors get
	ErrorID     string `json:"errorId"`
	OutputLives int64  `json:"outputLives"` // seconds
	ClosingAs   Status `json:"closingAs,omitempty"`
	Batch
}

func openStore(dir string, limits Limits) (*store, error) {
	st := &store{dir: dir, limits: limits, files: map[string]*fileRecord{}, batches: map[string]*batchRecord{}}
	for _, sub := range []string{"files", "batches"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of batches: %w", err)
		}
	}
	for _, load := range []func() error{st.loadFiles, st.loadBatches, st.clean} {
		if err := load(); err != nil {
			return nil, fmt.Errorf("read the folder of batches: %w", err)
		}
	}
	return st, nil
}

func (st *store) loadFiles() error {
	return eachRecord(filepath.Join(st.dir, "files"), func(r *fileRecord, path string) error {
		info, err := os.Stat(strings.TrimSuffix(path, ".json"))
		if errors.Is(err, fs.ErrNotExist) { // deleted in the middle of it
			return os.Remove(path)
		}
		if err != nil {
			return err
		}
		st.files[r.ID] = r
		st.used += info.Size()
		st.last = max(st.last, r.Made)
		return nil
	})
}

func (st *store) loadBatches() error {
	return eachRecord(filepath.Join(st.dir, "batches"), func(r *batchRecord, _ string) error {
		st.batches[r.ID] = r
		st.last = max(st.last, r.Made)
		for _, path := range []string{st.outputPath(r.ID), st.errorsPath(r.ID)} {
			if info, err := os.Stat(path); err == nil {
				st.used += info.Size()
			}
		}
		return nil
	})
}

// clean removes what a crash left behind: uploads without end, bytes without a
// record.
func (st *store) clean() error {
	pending := map[string]bool{}
	for _, r := range st.batches {
		if !r.Status.Ended() {
			pending[r.OutputID], pending[r.ErrorID] = true, true
		}
	}
	entries, err := os.ReadDir(filepath.Join(st.dir, "files"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, path := strings.TrimSuffix(e.Name(), ".json"), filepath.Join(st.dir, "files", e.Name())
		switch {
		case st.files[id] != nil:
		case pending[id]: // the crash came before its record
			st.used += fileSize(path)
		default:
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxRecord caps a record that is read. Ours are smaller.
const maxRecord = 1 << 20

func eachRecord[R any](dir string, do func(*R, string) error) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Size() > maxRecord {
			err = errors.New("it is larger than any record")
		}
		var data []byte
		if err == nil {
			data, err = os.ReadFile(path)
		}
		r := new(R)
		if err == nil {
			err = json.Unmarshal(data, r)
		}
		if err == nil {
			err = do(r, path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w; move the file away to go on without it", path, err)
		}
	}
	return nil
}

func (st *store) filePath(id string) string   { return filepath.Join(st.dir, "files", id) }
func (st *store) outputPath(id string) string { return filepath.Join(st.dir, "batches", id+".output") }
func (st *store) errorsPath(id string) string { return filepath.Join(st.dir, "batches", id+".errors") }

// stamp returns a time later than all before, in Unix nanoseconds.
func (st *store) stamp(now time.Time) int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.last = max(st.last+1, now.UnixNano())
	return st.last
}

// reserve takes room on the disk, or none.
func (st *store) reserve(n int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.used+n > st.limits.Disk {
		return false
	}
	st.used += n
	return true
}

func (st *store) release(n int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.used -= n
}

func (st *store) room() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.limits.Disk - st.used
}

// file returns a file of an owner, nil for none.
func (st *store) file(owner, id string) *fileRecord {
	st.mu.Lock()
	defer st.mu.Unlock()
	if r := st.files[id]; r != nil && r.Owner == owner {
		return r
	}
	return nil
}

// addFile makes bytes that lie at their place a file.
func (st *store) addFile(r *fileRecord) error {
	if err := writeRecord(st.filePath(r.ID)+".json", r); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.files[r.ID] = r
	return nil
}

// deleteFile removes a file unless a batch still reads it.
func (st *store) deleteFile(r *fileRecord) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.files[r.ID] == nil {
		return nil // somebody else did
	}
	for _, b := range st.batches {
		if b.InputFileID == r.ID && !b.Status.Ended() {
			return &openai.Error{
				Status: 400, Type: "invalid_request_error", Code: "file_in_use", Param: "file_id",
				Message: fmt.Sprintf("the batch %s still reads the file %s; cancel it first", b.ID, r.ID),
			}
		}
	}
	// The record goes last: without its bytes it does not count.
	if err := removeAll(st.filePath(r.ID), st.filePath(r.ID)+".json"); err != nil {
		return err
	}
	delete(st.files, r.ID)
	st.used -= r.Bytes
	return nil
}

func removeAll(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// countFiles tells how many files an owner has.
func (st *store) countFiles(owner string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	n := 0
	for _, r := range st.files {
		if r.Owner == owner {
			n++
		}
	}
	return n
}

// listFiles returns an owner's files, the oldest first.
func (st *store) listFiles(owner, purpose string) []*fileRecord {
	st.mu.Lock()
	defer st.mu.Unlock()
	var list []*fileRecord
	for _, r := range st.files {
		if r.Owner == owner && (purpose == "" || r.Purpose == purpose) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *fileRecord) int { return cmp.Compare(a.Made, b.Made) })
	return list
}

// saveBatch makes a record the batch's, on disk first.
func (st *store) saveBatch(r *batchRecord) error {
	if err := writeRecord(filepath.Join(st.dir, "batches", r.ID+".json"), r); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.batches[r.ID] = r
	return nil
}

// batch returns a batch of an owner as it was saved last, nil for none.
func (st *store) batch(owner, id string) *batchRecord {
	st.mu.Lock()
	defer st.mu.Unlock()
	if r := st.batches[id]; r != nil && r.Owner == owner {
		return r
	}
	return nil
}

// listBatches returns an owner's batches, the oldest first.
func (st *store) listBatches(owner string) []*batchRecord {
	return st.selectBatches(func(r *batchRecord) bool { return r.Owner == owner })
}

// unfinished returns the batches that have not ended, the oldest first.
func (st *store) unfinished() []*batchRecord {
	return st.selectBatches(func(r *batchRecord) bool { return !r.Status.Ended() })
}

func (st *store) selectBatches(want func(*batchRecord) bool) []*batchRecord {
	st.mu.Lock()
	defer st.mu.Unlock()
	var list []*batchRecord
	for _, r := range st.batches {
		if want(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *batchRecord) int { return cmp.Compare(a.Made, b.Made) })
	return list
}

// batchLives is how long a batch's record stays after its end.
const batchLives = 30 * 24 * time.Hour

// deleteExpired deletes files that are past their time, and records of batches
// that ended long ago.
func (st *store) deleteExpired(now time.Time) error {
	st.mu.Lock()
	files, batches := slices.Collect(maps.Values(st.files)), slices.Collect(maps.Values(st.batches))
	st.mu.Unlock()
	var errs []error
	for _, r := range files {
		if r.ExpiresAt != nil && now.Unix() >= *r.ExpiresAt {
			err := st.deleteFile(r)
			if _, inUse := errors.AsType[*openai.Error](err); !inUse {
				errs = append(errs, err)
			}
		}
	}
	for _, r := range batches {
		if r.Status.Ended() && now.After(time.Unix(r.ExpiresAt, 0).Add(batchLives)) {
			errs = append(errs, st.deleteBatch(r))
		}
	}
	return errors.Join(errs...)
}

func (st *store) deleteBatch(r *batchRecord) error {
	if err := removeAll(filepath.Join(st.dir, "batches", r.ID+".json")); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.batches, r.ID)
	return nil
}

func writeRecord(path string, r any) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}
