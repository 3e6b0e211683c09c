package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	frameBytes    = 256 // of one streamed token with its JSON
	sparseStreams = 20  // that each send a token every 20 ms
	sparseEvery   = 20 * time.Millisecond
	besideEvery   = time.Millisecond
)

// measured is what a caller tells of one measurement.
type measured struct {
	Took   time.Duration
	Median time.Duration // of a small request
	Beside besideBulk
}

// besideBulk is how late tokens are beside a transfer that takes all it can get.
type besideBulk struct{ P50, P95 time.Duration }

// serveLoad answers with n of something: /small one word, /busy frames one after
// the other, /sparse and /beside a frame at a time, /bulk mebibytes.
func serveLoad(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch r.URL.Path {
	case "/small":
		io.WriteString(w, "ok")
	case "/busy":
		sendFrames(w, r, n, 0)
	case "/sparse":
		sendFrames(w, r, n, sparseEvery)
	case "/beside":
		sendFrames(w, r, n, besideEvery)
	case "/bulk":
		chunk := make([]byte, 64<<10)
		for range n << 20 / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return // the caller left
			}
		}
	default:
		http.NotFound(w, r)
	}
}

// sendFrames sends and flushes each frame by itself; it begins with the time.
func sendFrames(w http.ResponseWriter, r *http.Request, n int, every time.Duration) {
	flush := http.NewResponseController(w).Flush
	frame := bytes.Repeat([]byte("x"), frameBytes)
	tick := make(<-chan time.Time)
	if every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		tick = ticker.C
	}
	for range n {
		if every > 0 {
			select {
			case <-tick:
			case <-r.Context().Done():
				return
			}
		}
		binary.BigEndian.PutUint64(frame, uint64(time.Now().UnixNano()))
		if _, err := w.Write(frame); err != nil || flush() != nil {
			return
		}
	}
}

func (m *measuring) small(ctx context.Context, n int, out *measured) error {
	times := make([]time.Duration, 0, n)
	for range n {
		begin := time.Now()
		if err := m.drain(ctx, "/small", 1, 2); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	out.Median = median(times)
	return nil
}

func (m *measuring) busy(ctx context.Context, n int, _ *measured) error {
	return m.drain(ctx, "/busy", n, int64(n)*frameBytes)
}

func (m *measuring) sparse(ctx context.Context, n int, _ *measured) error {
	errs := make(chan error, sparseStreams)
	for range sparseStreams {
		go func() { errs <- m.drain(ctx, "/sparse", n/sparseStreams, int64(n/sparseStreams)*frameBytes) }()
	}
	var first error
	for range sparseStreams {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func (m *measuring) bulk(ctx context.Context, n int, _ *measured) error {
	return m.drain(ctx, "/bulk", n, int64(n)<<20)
}

// beside reads n tokens while a transfer over the same links goes on.
func (m *measuring) beside(ctx context.Context, n int, out *measured) error {
	bulk, err := m.open(ctx, "/bulk", 1<<20)
	if err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer bulk.Close()
	reading.Go(func() { io.Copy(io.Discard, bulk) })
	tokens, err := m.open(ctx, "/beside", n)
	if err != nil {
		return err
	}
	defer tokens.Close()
	late := make([]time.Duration, 0, n)
	frame := make([]byte, frameBytes)
	for range n {
		if _, err := io.ReadFull(tokens, frame); err != nil {
			return fmt.Errorf("read a token beside bulk: %w", err)
		}
		late = append(late, time.Duration(time.Now().UnixNano()-int64(binary.BigEndian.Uint64(frame))))
	}
	slices.Sort(late)
	out.Beside = besideBulk{late[len(late)/2], late[len(late)*95/100]}
	return nil
}
