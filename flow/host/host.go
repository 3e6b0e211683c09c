// Package host has the real handlers of pipelines: processes, files, the network, the terminal, the clock.
//
// [Handlers] returns all of them for this process; a program that embeds the shell takes those it wants to allow. Imported by
// flow; pipelines reach it only through [interp.Handlers].
//
// A process runs in a group of its own, so that a cancelled run ends its children's children too. Exec waits for the process and
// for everything that holds its output open.
package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"lobstah/flow/interp"
)

// Handlers returns the real handlers. Questions to the person are nil unless stdin is a terminal; they are printed on stdout.
func Handlers(stdin *os.File, stdout io.Writer, vars map[string]string) interp.Handlers {
	h := interp.Handlers{
		Exec:     Exec,
		ReadFile: readFile,
		Getwd:    os.Getwd,
		Chdir:    os.Chdir,
		HTTP:     send,
		Spool:    func() interp.Spool { return &Spool{} },
		Now:      time.Now,
		Sleep:    sleep,
		Random:   rand.Reader,
	}
	if isTerminal(stdin) {
		h.Ask = (&terminal{in: stdin, out: stdout, limit: readLimit(vars)}).ask
	}
	return h
}

// fileLimit caps a file that a command names, in bytes.
const fileLimit = 64 << 20

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(text) > fileLimit {
		err = fmt.Errorf("%s is larger than %d bytes", name, fileLimit)
	}
	return text, errors.Join(err, f.Close())
}

// requestLimit is how long a server may take for its whole answer; models are slow.
const requestLimit = 30 * time.Minute

// send sends a request; a redirect is the answer, not an order, so that credentials stay with the host that they are for.
func send(r *http.Request) (*http.Response, error) {
	client := http.Client{Timeout: requestLimit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client.Do(r)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
