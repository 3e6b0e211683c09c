package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/channel"
	"lobstah/internal/cli"
	"lobstah/internal/dualport"
	"lobstah/key"
)

// startTracker runs the command until stop is called, and returns its address.
func startTracker(t *testing.T, home string, flags ...string) (base string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	code := make(chan int, 1)
	var said strings.Builder
	go func() {
		streams := cli.IO{In: strings.NewReader(""), Out: in, Err: &said, Env: []string{"LOBSTAH_HOME=" + home, "GOMEMLIMIT=off"}}
		code <- run(ctx, append([]string{"tracker", "start", "--port", "0"}, flags...), streams)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	for base == "" && lines.Scan() {
		_, base, _ = strings.Cut(lines.Text(), "page:     ")
	}
	go io.Copy(io.Discard, out)
	stop = func() {
		t.Helper()
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("exit code %d; it said %s", got, said.String())
		}
	}
	if base == "" {
		stop()
		t.Fatalf("it did not start: %s", said.String())
	}
	return strings.TrimSuffix(base, "/"), stop
}

func announceTo(t *testing.T, base string, o announce.Offer, pair key.Pair) (int, string) {
	t.Helper()
	o.ID, o.TTL, o.AnnouncedAt = pair.ID(), 10*time.Minute, time.Now()
	s, err := announce.Sign(pair, o)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(base+"/announce", "application/json", strings.NewReader(string(s.Envelope())))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, bodyOf(t, response)
}

func bodyOf(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestTrackerKeepsItsList(t *testing.T) {
	home := t.TempDir()
	base, stop := startTracker(t, home)
	if code, body := announceTo(t, base, announce.Offer{URL: "http://192.0.2.1:17474", Label: "kept"}, key.Generate()); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := announceTo(t, base, announce.Offer{URL: "http://127.0.0.1:17474"}, key.Generate()); code != 400 || !strings.Contains(body, "unsafe-url") {
		t.Errorf("loopback: %d %s", code, body)
	}
	stream, err := http.Get(base + "/peers/stream") // stopping does not wait for it
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	stop()
	if files, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(files) != 2 {
		t.Errorf("the home holds %v, %v; want the snapshot and its plots", files, err)
	}

	base, stop = startTracker(t, home)
	defer stop()
	response, err := http.Get(base + "/peers")
	if err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(t, response); !strings.Contains(body, `"label":"kept"`) {
		t.Errorf("after the restart: %s", body)
	}
}

// With --dial-back a worker has to be where it says, and strangers cannot make
// the tracker reach into its own network.
func TestTrackerDialsBack(t *testing.T) {
	base, stop := startTracker(t, t.TempDir(), "--dial-back", "--snapshot", "none")
	defer stop()
	for _, url := range []string{"http://127.0.0.1:1", "http://169.254.169.254", "http://10.0.0.1", "http://[::1]:1", "http://[64:ff9b::7f00:1]"} {
		if code, body := announceTo(t, base, announce.Offer{URL: url}, key.Generate()); code != 400 || !strings.Contains(body, "unsafe-url") {
			t.Errorf("%s: %d %s", url, code, body)
		}
	}
	// A name is judged by the address that is dialled.
	if code, body := announceTo(t, base, announce.Offer{URL: "http://localhost:1"}, key.Generate()); code != 400 || !strings.Contains(body, "unreachable") {
		t.Errorf("localhost: %d %s", code, body)
	}
}

func TestReachWorker(t *testing.T) {
	pair := key.Generate()
	config, err := pair.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	l := dualport.Listen(listenLocally(t), config)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	transport := &channel.Transport{}
	defer transport.Close()
	peer := grid.Peer{ID: pair.ID(), URL: "http://" + l.Addr().String(), Origin: grid.FromUser}
	if err := reachWorker(t.Context(), transport, peer); err != nil {
		t.Errorf("the worker itself: %v", err)
	}
	peer.ID = key.Generate().ID()
	if err := reachWorker(t.Context(), transport, peer); err == nil {
		t.Error("another key was reached there")
	}
	peer.ID, peer.Origin = pair.ID(), grid.FromTracker
	if err := reachWorker(t.Context(), transport, peer); err == nil {
		t.Error("a stranger's URL reached loopback")
	}
}

func listenLocally(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
