package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/grid/router"
	"lobstah/internal/dualport"
	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// The identities of the parts; fixed, so that no part has to tell another.
var (
	workerPair = key.FromSeed([32]byte{1})
	routerPair = key.FromSeed([32]byte{2})
)

// A part is what a role serves: a handler, on the listener that it was given or
// one around it, and what there is to end after its server.
type part struct {
	listener net.Listener
	handler  http.Handler
	end      func() error
}

// serve runs one role until ctx ends. It prints its address first.
func serve(ctx context.Context, role, upstream string) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	if role == "copier" {
		return copyBytes(ctx, ln, upstream)
	}
	p, err := play(ctx, role, upstream, ln)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	mux := http.NewServeMux()
	mux.Handle("/", p.handler)
	mux.HandleFunc("GET /bench/goroutines", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		debug.FreeOSMemory()
		fmt.Fprint(w, runtime.NumGoroutine())
	})
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// play makes the part of a role.
func play(ctx context.Context, role, upstream string, ln net.Listener) (part, error) {
	p := part{listener: ln, end: func() error { return nil }}
	var err error
	switch role {
	case "upstream":
		p.handler = fakeWorker{}
	case "worker":
		p.handler = fakeWorker{}
		p.listener, err = overChannel(ln, workerPair)
	case "paced":
		p.handler, p.listener, err = pacedWorker(upstream, ln)
	case "batches":
		p.handler, p.end, err = gridBatches(ctx, upstream)
	case "floor":
		p.handler = floor(upstream)
	case "router", "receipts":
		p.handler, p.end, err = gridRouter(ctx, upstream, role == "receipts")
	case "https":
		p.handler, p.listener, err = plainHTTPS(ln)
	case "meshserver", "meshrelay", "caller", "together", "links":
		p.handler, p.end, err = meshRole(ctx, role, upstream)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	return p, err
}

// overChannel makes a listener a worker's port.
func overChannel(ln net.Listener, pair key.Pair) (net.Listener, error) {
	config, err := pair.ServerTLS()
	if err != nil {
		return nil, err
	}
	return dualport.Listen(ln, config), nil
}

// floor is the least that a proxy does.
func floor(upstream string) http.Handler {
	target := &url.URL{Scheme: "http", Host: upstream}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 128},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
}

// gridRouter is the product's router: without receipts over plain HTTP, as the
// floor; with them signing each request, over the pinned TLS channel, checking
// each receipt and keeping it in a ledger on disk.
func gridRouter(ctx context.Context, upstream string, receipts bool) (http.Handler, func() error, error) {
	peer := grid.Peer{ID: workerPair.ID(), URL: "http://" + upstream, Insecure: !receipts}
	transport := &channel.Transport{MaxConns: 4096}
	config := router.Config{
		Identity:     routerPair,
		Peers:        onePeer{peer},
		RoundTripper: transport.RoundTripper,
		Unsigned:     !receipts,
	}
	closeLedger := func() error { return nil }
	if receipts {
		folder, err := os.MkdirTemp("", "lobstah-bench")
		if err != nil {
			return nil, nil, err
		}
		kept, err := sqlite.Open(ctx, filepath.Join(folder, "ledger.db"), routerPair)
		if err != nil {
			return nil, nil, err
		}
		config.Ledger = asker{kept}
		if config.Asked, err = router.OpenAsked(filepath.Join(folder, "awaited"), slog.Default()); err != nil {
			return nil, nil, errors.Join(err, kept.Close())
		}
		closeLedger = func() error { return errors.Join(config.Asked.Close(), kept.Close(), os.RemoveAll(folder)) }
	}
	rt, err := router.New(config)
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rt.Run(ctx)
	}()
	return rt, func() error { <-done; return closeLedger() }, nil
}

type onePeer struct{ peer grid.Peer }

func (p onePeer) List() []grid.Peer { return []grid.Peer{p.peer} }

// asker is the requester's side of a ledger.
type asker struct{ *sqlite.Ledger }

func (a asker) Append(ctx context.Context, s *receipt.Signed) error {
	err := a.Ledger.Append(ctx, ledger.Requester, s)
	if errors.Is(err, ledger.ErrDuplicate) {
		return router.ErrKnown
	}
	return err
}

func (asker) Balances(context.Context) (router.Balances, error) { return router.Balances{}, nil }

func (asker) Recent(context.Context, int) ([]*receipt.Signed, int, error) { return nil, 0, nil }
