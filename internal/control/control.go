// Package control is the way into a running process for its owner and nobody
// else: HTTP over a socket file that only the owner can open.
//
// A process that serves calls [Listen] and tells where ([Listener.Path]) in its
// lock file; a command calls [Client.Call] on that path. What is asked and
// answered is theirs to agree on.
//
// Only cmd/ imports it. The socket lies in a folder of mode 0700 and has mode
// 0600, so whoever can connect owns the process; still, bodies are capped. What
// a dead process left is replaced.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	// MaxBytes caps what is asked and what is answered.
	MaxBytes = 8 << 20

	maxPath = 100 // bytes of a socket's path; the systems allow 104 to 108
	folder  = "run"
	name    = "control.sock"
)

// A Listener accepts the owner's connections.
type Listener struct {
	net.Listener
	path string
	temp string // a folder of our own, when the home's path is too long
}

// Listen makes the socket in the home folder dir, which the caller has locked:
// so what lies there belongs to a process that is dead. Where dir's path is too
// long for a socket, it lies in a fresh folder for temporary files.
func Listen(dir string) (*Listener, error) {
	l := &Listener{path: filepath.Join(dir, folder, name)}
	if len(l.path) > maxPath {
		temp, err := os.MkdirTemp("", "lobstah-")
		if err != nil {
			return nil, fmt.Errorf("make the control socket's folder: %w", err)
		}
		l.temp, l.path = temp, filepath.Join(temp, name)
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the control socket: %w", err), l.clean())
	}
	return l, nil
}

func (l *Listener) open() (err error) {
	parent := filepath.Dir(l.path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	// The folder keeps others away from the moment the socket exists.
	if err := os.Chmod(parent, 0o700); err != nil {
		return err
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if l.Listener, err = net.Listen("unix", l.path); err != nil {
		return err
	}
	return os.Chmod(l.path, 0o600)
}

// Path returns where the socket is.
func (l *Listener) Path() string { return l.path }

// Close stops accepting and removes the socket.
func (l *Listener) Close() error {
	return errors.Join(l.Listener.Close(), l.clean())
}

func (l *Listener) clean() error {
	if l.temp == "" {
		return nil
	}
	return os.RemoveAll(l.temp)
}

// A Client speaks to the process that listens at Path.
type Client struct{ Path string }

// An Error is a refusal of the process.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Advice is what can be done about it, empty when nothing is known.
func (e *Error) Advice() string { return e.Hint }

// Reply writes v, or what is wrong, as the answer to a call.
func Reply(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{Message: err.Error()}
		}
		status = max(e.Status, http.StatusBadRequest)
		v = map[string]any{"error": e}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// Read decodes the body of a call.
func Read(r *http.Request, v any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, MaxBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return &Error{Message: "the call's body: " + err.Error()}
	}
	return nil
}

// Call sends in (nil for nothing) and decodes the answer into out (nil for
// whatever it is). A refusal is an [*Error].
func (c Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the running process: %w", err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lobstah"+path, body)
	if err != nil {
		return fmt.Errorf("ask the running process: %w", err)
	}
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("ask the running process: %w", err)
	}
	defer response.Body.Close()
	return answer(response, out)
}

func (c Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", c.Path)
}

func answer(response *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, MaxBytes))
	if err != nil {
		return fmt.Errorf("ask the running process: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var refusal struct{ Error *Error }
		if json.Unmarshal(data, &refusal) != nil || refusal.Error == nil {
			return &Error{Status: response.StatusCode, Message: "the running process answered " + response.Status}
		}
		refusal.Error.Status = response.StatusCode
		return refusal.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the running process's answer: %w", err)
	}
	return nil
}
