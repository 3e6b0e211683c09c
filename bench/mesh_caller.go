package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// measuring is the control of a caller.
type measuring struct {
	http.RoundTripper
	url string
}

func (m *measuring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	take := map[string]func(context.Context, int, *measured) error{
		"busy": m.busy, "sparse": m.sparse, "small": m.small, "bulk": m.bulk, "beside": m.beside,
	}[r.FormValue("what")]
	var out measured
	switch {
	case r.URL.Path != "/bench/measure" || take == nil:
		err = fmt.Errorf("nothing called %s", r.URL)
	case err == nil:
		begin := time.Now()
		err = take(r.Context(), n, &out)
		out.Took = time.Since(begin)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(out)
}

func (m *measuring) open(ctx context.Context, path string, n int) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s?n=%d", m.url, path, n), nil)
	if err != nil {
		return nil, err
	}
	response, err := m.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return response.Body, nil
}

func (m *measuring) drain(ctx context.Context, path string, n int, want int64) error {
	body, err := m.open(ctx, path, n)
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.Copy(io.Discard, bufio.NewReaderSize(body, 32<<10))
	if err == nil && got != want {
		err = fmt.Errorf("%s: %d bytes, want %d", path, got, want)
	}
	return err
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
