package control

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func serve(t *testing.T, dir string) *Listener {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ A, B int }
		err := Read(r, &in)
		if err == nil && in.A < 0 {
			err = &Error{Status: http.StatusConflict, Message: "below zero", Hint: "try more"}
		}
		Reply(w, in.A+in.B, err)
	})
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { // ends when the server is closed, which the cleanup waits for
		defer close(done)
		_ = server.Serve(l) // ErrServerClosed
	}()
	t.Cleanup(func() {
		server.Close()
		l.Close()
		<-done
	})
	return l
}

func TestCall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := serve(t, dir)
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{l.Path(): 0o600, filepath.Dir(l.Path()): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
			}
		}
	}
	client := Client{l.Path()}
	var sum int
	if err := client.Call(t.Context(), "POST", "/add", map[string]int{"A": 2, "B": 3}, &sum); err != nil || sum != 5 {
		t.Errorf("2+3 = %d, %v", sum, err)
	}
	refusal, ok := errors.AsType[*Error](client.Call(t.Context(), "POST", "/add", map[string]int{"A": -1}, nil))
	if !ok || refusal.Status != http.StatusConflict || refusal.Hint != "try more" {
		t.Errorf("refusal: %+v", refusal)
	}
	for path, in := range map[string]any{"/add": map[string]int{"X": 1}, "/none": nil} {
		if err := client.Call(t.Context(), "POST", path, in, nil); err == nil {
			t.Errorf("%s with %v was answered", path, in)
		}
	}
	if err := (Client{filepath.Join(dir, "none")}).Call(t.Context(), "GET", "/", nil, nil); err == nil {
		t.Error("called nobody")
	}
}

func TestLongHome(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	l := serve(t, dir)
	if len(l.Path()) > maxPath {
		t.Fatalf("%d bytes: %s", len(l.Path()), l.Path())
	}
	var sum int
	if err := (Client{l.Path()}).Call(t.Context(), "POST", "/add", map[string]int{"A": 1}, &sum); err != nil || sum != 1 {
		t.Errorf("%d, %v", sum, err)
	}
}

// A process that was killed leaves its socket file behind.
func TestDeadSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, folder, name)
	if len(path) > maxPath {
		t.Skip("this machine's temporary folders have long names")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l := serve(t, dir)
	if err := (Client{l.Path()}).Call(t.Context(), "POST", "/add", map[string]int{}, nil); err != nil {
		t.Error(err)
	}
}
