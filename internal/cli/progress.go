package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// patience is how long a person waits without being told why.
const patience = time.Second

// Progress says on the error stream what is being waited for, once that has
// taken a second; on a terminal the line counts the seconds and goes away in
// the end. Call done exactly once; it returns when nothing more is written.
func (s IO) Progress(what string) (done func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { progress(s.Err, Terminal(s.Err), what, stop) })
	return func() {
		close(stop)
		wg.Wait()
	}
}

func progress(w io.Writer, terminal bool, what string, stop <-chan struct{}) {
	start := time.Now()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-stop:
			if shown && terminal {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return
		case <-tick.C:
			if terminal {
				fmt.Fprintf(w, "\r\x1b[K%s (%s)", what, Duration(time.Since(start).Truncate(time.Second)))
			} else if !shown {
				fmt.Fprintf(w, "%s ...\n", what)
			}
			shown = true
		}
	}
}
