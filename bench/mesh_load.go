package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
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
