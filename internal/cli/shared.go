package cli

import (
	"io"
	"os"
	"sync"
)

// Shared returns s for a program whose goroutines all speak: each Write reaches
// Out or Err whole, whatever writer that is. Files are left as they are, since
// the system keeps writes apart there and their being a terminal matters.
func (s IO) Shared() IO {
	mu := new(sync.Mutex) // one, since both may be the same writer
	s.Out, s.Err = taken(mu, s.Out), taken(mu, s.Err)
	return s
}

func taken(mu *sync.Mutex, w io.Writer) io.Writer {
	switch w.(type) {
	case *os.File, turns:
		return w
	}
	return turns{mu, w}
}

// turns is a writer that one goroutine has at a time.
type turns struct {
	mu *sync.Mutex
	w  io.Writer // guarded by mu
}

func (t turns) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(p)
}
