package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	wholeBody  = `{"model":"bench","messages":[{"role":"user","content":"hello there, how are you today?"}]}`
	streamBody = `{"model":"bench","stream":true,"messages":[{"role":"user","content":"hello there"}]}`
	idleBody   = `{"model":"bench","stream":true,"messages":[{"role":"user","content":"idle"}]}`
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}

// ask sends one request and checks that the whole answer came.
func ask(ctx context.Context, addr, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %.200s", resp.StatusCode, answer)
	}
	if body == wholeBody && string(answer) != wholeAnswer || body == streamBody && bytes.Count(answer, []byte("data: ")) != chunks+1 {
		return fmt.Errorf("the answer is not the upstream's: %.200s", answer)
	}
	return nil
}

// load sends n requests over the given number of connections.
func load(ctx context.Context, addr, body string, n, connections int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				if err := ask(ctx, addr, body); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// ready waits until addr serves the model; a router learns it by its first poll.
func ready(ctx context.Context, addr string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := ask(ctx, addr, wholeBody)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// hold opens n streams that stay silent, and keeps them until close is called.
func hold(ctx context.Context, addr string, n int) (closeAll func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	transport := &http.Transport{}
	holder := &http.Client{Transport: transport}
	for range n {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/chat/completions", strings.NewReader(idleBody))
		if err != nil {
			cancel()
			return nil, err
		}
		resp, err := holder.Do(r)
		if err == nil {
			_, err = io.ReadFull(resp.Body, make([]byte, len(deltaEvent)))
		}
		if err != nil {
			cancel()
			return nil, err
		}
	}
	return func() { cancel(); transport.CloseIdleConnections() }, nil
}
