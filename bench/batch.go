package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/grid/batch"
	"lobstah/grid/channel"
	"lobstah/grid/router"
	"lobstah/key"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// Three workers of different speed: answers at once, and how long each takes.
const pacedSlots = 16

var paces = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

func pacedPair(i int) key.Pair { return key.FromSeed([32]byte{byte(100 + i)}) }

// pacedWorker is a worker that takes its time, the which-th of paces.
func pacedWorker(which string, ln net.Listener) (http.Handler, net.Listener, error) {
	var i int
	if _, err := fmt.Sscan(which, &i); err != nil || i < 0 || i >= len(paces) {
		return nil, nil, fmt.Errorf("no paced worker %q", which)
	}
	pair := pacedPair(i)
	slots := make(chan struct{}, pacedSlots)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /capacity", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(grid.Capacity{
			Pubkey: pair.ID(), Models: []string{"bench"}, Tier: grid.Batch, Concurrency: pacedSlots, Signs: true, Now: time.Now().UnixMilli(),
		})
	})
	mux.HandleFunc("GET /receipts", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"receipts":[]}`) })
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		slots <- struct{}{}
		time.Sleep(paces[i])
		<-slots
		w.Header().Set("Content-Type", "application/json")
		if s := signAs(pair, r, body, receipt.HashBody([]byte(wholeAnswer))); s != nil {
			w.Header().Set(receipt.Header, s.Text())
		}
		io.WriteString(w, wholeAnswer)
	})
	served, err := overChannel(ln, pair)
	return mux, served, err
}

// gridBatches is a router with a ledger, and batches over it.
func gridBatches(ctx context.Context, upstreams string) (http.Handler, func() error, error) {
	folder, err := os.MkdirTemp("", "lobstah-bench")
	if err != nil {
		return nil, nil, err
	}
	kept, err := sqlite.Open(ctx, filepath.Join(folder, "ledger.db"), routerPair)
	if err != nil {
		return nil, nil, err
	}
	var peers peersOf
	for i, addr := range strings.Split(upstreams, ",") {
		peers = append(peers, grid.Peer{ID: pacedPair(i).ID(), URL: "http://" + addr})
	}
	transport := &channel.Transport{MaxConns: 256}
	var rt atomic.Pointer[router.Router]
	service, err := batch.Open(batch.Config{
		Dir: filepath.Join(folder, "batches"),
		Ask: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rt.Load().ServeHTTP(w, r) }),
		Peers: func(model string) (list []batch.Peer) {
			for _, room := range rt.Load().Rooms(model) {
				list = append(list, batch.Peer{ID: room.ID.String(), Slots: room.Slots})
			}
			return list
		},
	})
	if err != nil {
		return nil, nil, err
	}
	pages := map[string]http.Handler{}
	for _, pattern := range batch.Paths() {
		pages[pattern] = service
	}
	made, err := router.New(router.Config{Identity: routerPair, Peers: peers, RoundTripper: transport.RoundTripper, Ledger: asker{kept}, Extra: pages})
	if err != nil {
		return nil, nil, err
	}
	rt.Store(made)
	done := make(chan struct{}, 2)
	go func() { made.Run(ctx); done <- struct{}{} }()
	go func() { service.Run(ctx); done <- struct{}{} }()
	mux := http.NewServeMux()
	mux.Handle("/", made)
	mux.HandleFunc("GET /bench/receipts", func(w http.ResponseWriter, r *http.Request) {
		summary, err := kept.Balances(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, summary.Receipts)
	})
	return mux, func() error {
		<-done
		<-done
		return errors.Join(kept.Close(), os.RemoveAll(folder))
	}, nil
}

type peersOf []grid.Peer

func (p peersOf) List() []grid.Peer { return p }

// measureBatch runs a batch over three workers, beside the time that their
// summed speed allows.
func measureBatch(ctx context.Context, p plan) error {
	var addrs []string
	speed := 0.0
	for i, each := range paces {
		w, err := start(ctx, "paced", fmt.Sprint(i))
		if err != nil {
			return err
		}
		defer w.stop()
		addrs = append(addrs, w.addr)
		speed += pacedSlots / each.Seconds()
	}
	r, err := start(ctx, "batches", strings.Join(addrs, ","))
	if err != nil {
		return err
	}
	defer r.stop()
	if err := ready(ctx, r.addr); err != nil {
		return err
	}
	b, took, err := runBatch(ctx, r.addr, p.lines)
	if err != nil {
		return err
	}
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	memory, err := r.memory()
	if err != nil {
		return err
	}
	receipts, err := getText(ctx, r.addr, "/bench/receipts")
	if err != nil {
		return err
	}
	ideal := time.Duration(float64(p.lines) / speed * float64(time.Second))
	fmt.Printf("batch of %d lines over 3 workers (4:2:1) %s; summed speed allows %s; %.3f of it\n",
		p.lines, took.Round(time.Millisecond), ideal.Round(time.Millisecond), took.Seconds()/ideal.Seconds())
	fmt.Printf("%-34s completed %d, failed %d, receipts kept %s (one is the readiness check's)\n", "", b.RequestCounts.Completed, b.RequestCounts.Failed, receipts)
	fmt.Printf("%-34s router and batches: %s CPU a line, %.1f MiB\n", "", (cpu / time.Duration(p.lines)).Round(time.Microsecond), memory)
	return nil
}

func runBatch(ctx context.Context, addr string, n int) (batch.Batch, time.Duration, error) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err := w.WriteField("purpose", "batch")
	part, errPart := w.CreateFormFile("file", "requests.jsonl")
	if err := errors.Join(err, errPart); err != nil {
		return batch.Batch{}, 0, err
	}
	for i := range n {
		fmt.Fprintf(part, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", i, strings.Replace(wholeBody, "hello", fmt.Sprint("hello ", i), 1))
	}
	if err := w.Close(); err != nil {
		return batch.Batch{}, 0, err
	}
	var file batch.File
	if err := call(ctx, http.MethodPost, addr, "/v1/files", w.FormDataContentType(), &form, &file); err != nil {
		return batch.Batch{}, 0, err
	}
	began := time.Now()
	var b batch.Batch
	err = call(ctx, http.MethodPost, addr, "/v1/batches", "application/json",
		strings.NewReader(fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, file.ID)), &b)
	for err == nil && !b.Status.Ended() {
		select {
		case <-time.After(20 * time.Millisecond):
			err = call(ctx, http.MethodGet, addr, "/v1/batches/"+b.ID, "", nil, &b)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err == nil && (b.Status != batch.Completed || b.RequestCounts.Completed != n) {
		err = fmt.Errorf("the batch ended as %+v", b)
	}
	return b, time.Since(began), err
}

func call(ctx context.Context, method, addr, path, contentType string, body io.Reader, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, text)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func getText(ctx context.Context, addr, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
