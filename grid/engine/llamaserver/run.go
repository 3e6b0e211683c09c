package llamaserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine/openaiapi"
)

const (
	// firstStarts is how often a child that was never ready is started: a file
	// that it cannot load will not get better, but a port may be taken between
	// choosing and using it.
	firstStarts = 3
	minBackOff  = 500 * time.Millisecond
	maxBackOff  = time.Minute
	steady      = time.Minute     // a child that was ready for so long starts anew from minBackOff
	stopGrace   = 5 * time.Second // from SIGTERM to SIGKILL
)

// Run starts the child, keeps it running and stops it when ctx ends, which is no
// error. It gives up only when the child was never ready.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.ended)
	backOff := minBackOff
	for failures := 0; ; {
		lasted, err := e.life(ctx)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-e.ready:
		default:
			if failures++; failures == firstStarts {
				return fmt.Errorf("%s does not start: %w", e.Name(), err)
			}
		}
		if lasted >= steady {
			backOff = minBackOff
		}
		e.config.Progress(Status{Phase: Ended, Err: err, Wait: backOff})
		select {
		case <-time.After(backOff):
		case <-ctx.Done():
			return nil
		}
		backOff = min(2*backOff, maxBackOff)
	}
}

// life is one child from its start to its end. It returns how long it was ready
// and why it ended.
func (e *Engine) life(ctx context.Context) (lasted time.Duration, err error) {
	port, err := e.port()
	if err != nil {
		return 0, err
	}
	key := newKey()
	live, err := openaiapi.New(openaiapi.Config{
		BaseURL: "http://127.0.0.1:" + port, Key: key, Kind: "llama-server", Name: e.Name(),
	})
	if err != nil {
		return 0, err
	}
	defer live.Close()
	e.config.Progress(Status{Phase: Starting})
	child, err := startChild(e.program, e.args(port), key)
	if err != nil {
		return 0, err
	}
	defer child.stop(stopGrace)
	if err := e.load(ctx, child, live); err != nil {
		return 0, err
	}
	e.live.Store(&serving{live, child})
	defer e.live.Store(nil)
	e.first.Do(func() { close(e.ready) })
	since := time.Now()
	e.config.Progress(Status{Phase: Ready, Elapsed: child.age()})
	select {
	case <-ctx.Done():
	case <-child.done:
	}
	return time.Since(since), child.failure()
}

// args is the child's command line. The user's come last and win.
func (e *Engine) args(port string) []string {
	args := append([]string{}, e.source.flags...)
	args = append(args,
		"--host", "127.0.0.1", "--port", port,
		"--alias", e.source.alias,
		"--jinja", // the model's own chat template, which tool calls need
		"--no-webui", "--no-slots",
	)
	return append(args, e.config.Args...)
}

// load waits until the child has loaded its model.
func (e *Engine) load(ctx context.Context, child *child, live *openaiapi.Engine) error {
	tell := time.Second // and later more seldom: after 2, 4, 8, … and then each 30 seconds
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		if healthy(ctx, live.Address()) {
			models, err := live.Models(ctx)
			if err == nil && !slices.ContainsFunc(models, e.isOurs) {
				return fmt.Errorf("what listens on llama-server's port at %s is another program", live.Address())
			}
			if err == nil && child.alive() {
				child.log.close()
				return nil
			}
		}
		if age := child.age(); age >= tell {
			tell = age + min(age, 30*time.Second)
			e.config.Progress(Status{Phase: Loading, Elapsed: age})
		}
		select {
		case <-child.done:
			return child.failure()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (e *Engine) isOurs(m grid.Model) bool { return m.ID == e.source.alias }

// healthy asks GET /health, which needs no key.
func healthy(ctx context.Context, base string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health", nil)
	if err != nil {
		return false
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// freePort returns a port of loopback that nothing listened on just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port for llama-server: %w", err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
