//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lobstah/internal/cli"
)

// Watching prints one line of JSON for each look, follows what changes, and ends
// with the first interrupt. The port of the hub answers ws and wss alike.
func TestWatchFollowsNodesOverBothSchemes(t *testing.T) {
	t.Parallel()
	const secret = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	dir := t.TempDir()
	ports := freePorts(4)
	home := func(name string) string { return filepath.Join(dir, name) }
	must(t, home("hub"), "init", "--name", "hub", "--listen", "--port", ports[0], "--proxy-port", ports[1], "--secret", secret)
	startNode(t, home("hub"))
	eventually(t, "the hub runs", patienceInTests, func() bool { return strings.Contains(say(t, home("hub"), "status"), "listens") })

	ctx, interrupt := context.WithTimeout(t.Context(), patienceInTests) // watching ends, too, when they never come
	defer interrupt()
	in, out := io.Pipe()
	var watching sync.WaitGroup
	var code int
	watching.Go(func() {
		code = run(ctx, []string{"--home", home("hub"), "peers", "--watch", "--json", "--every", "100ms"}, cli.IO{Out: out, Err: io.Discard, Env: os.Environ()})
		out.Close()
	})
	for i, name := range []string{"ws", "wss"} {
		must(t, home(name), "init", "--name", name, "--peer", name+"://127.0.0.1:"+ports[0], "--proxy-port", ports[i+2], "--secret", secret)
		startNode(t, home(name))
	}
	lines := bufio.NewScanner(in)
	states := map[string]string{}
	for (states["ws"] != direct || states["wss"] != direct) && lines.Scan() {
		var list []peerView
		if err := json.Unmarshal(lines.Bytes(), &list); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		for _, v := range list {
			states[v.Name] = v.State
		}
	}
	if states["ws"] != direct || states["wss"] != direct {
		t.Errorf("the last look showed %v; want both direct", states)
	}
	interrupt()
	for lines.Scan() { // what was on its way
		continue
	}
	watching.Wait()
	if code != cli.OK {
		t.Errorf("watching ended with %d; want 0", code)
	}
}
