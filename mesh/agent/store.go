package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lobstah/internal/durable"
)

// maxFile caps a task's file: texts may be escaped sixfold.
const maxFile = 16 << 20

// A store is a folder with one file for each task, readable by its owner alone. Its
// owner sees to it that no two goroutines write one task.
type store struct {
	dir   string
	write func(path string, data []byte, mode fs.FileMode) error
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for tasks: %w", err)
	}
	return &store{dir, durable.WriteFile}, nil
}

// name is the task's file. Identifiers are chosen by the asking side, so the
// other node's key belongs to it.
func (s *store) name(t *Task) string {
	return filepath.Join(s.dir, fmt.Sprintf("%x-%s.json", t.Node[:8], t.ID))
}

func (s *store) put(t *Task) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encoding a task: %w", err)
	}
	if err := s.write(s.name(t), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("keeping a task: %w", err)
	}
	return nil
}

func (s *store) remove(t *Task) error {
	if err := os.Remove(s.name(t)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old task: %w", err)
	}
	return nil
}

// maxKept bounds what finished tasks hold of memory and disk.
const maxKept = 64 << 20

// surplus are the finished tasks that are not worth keeping: those beyond a number,
// beyond maxKept bytes, or from before a time. The newest are kept.
func surplus(finished []*Task, number int, before time.Time) (list []*Task) {
	slices.SortFunc(finished, func(a, b *Task) int { return b.Updated.Compare(a.Updated) })
	size := 0
	for i, t := range finished {
		size += len(t.Brief.Text) + len(t.Brief.Context) + len(t.Output) + len(t.Error)
		if i >= number || size > maxKept || t.Updated.Before(before) {
			list = append(list, t)
		}
	}
	return list
}

// load reads all tasks. A damaged file is left where it is and named in the
// error; the others are returned all the same.
func (s *store) load() ([]Task, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of tasks: %w", err)
	}
	var tasks []Task
	var damaged []error
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		t, err := s.read(f.Name())
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		tasks = append(tasks, t)
	}
	return tasks, errors.Join(damaged...)
}

func (s *store) read(name string) (t Task, err error) {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return t, fmt.Errorf("reading a task: %w", err)
	}
	if info.Size() > maxFile {
		return t, fmt.Errorf("%s is larger than a task can be", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return t, fmt.Errorf("reading a task: %w", err)
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if s.name(&t) != path {
		return t, fmt.Errorf("%s is not the file of the task in it", path)
	}
	return t, nil
}
