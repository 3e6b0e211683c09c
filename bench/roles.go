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

// serve runs one role until ctx ends. It prints its address first.
func serve(ctx context.Context, role, upstream string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	var handler http.Handler
	switch role {
	case "copier":
		return copyBytes(ctx, ln, upstream)
	case "upstream":
		handler = fakeWorker{}
	case "worker":
		handler = fakeWorker{}
		config, err := workerPair.ServerTLS()
		if err != nil {
			return err
		}
		ln = dualport.Listen(ln, config)
	case "paced":
		handler, ln, err = pacedWorker(upstream, ln)
	case "batches":
		stop := func() error { return nil }
		if handler, stop, err = gridBatches(ctx, upstream); err == nil {
			defer func() { err = errors.Join(err, stop()) }()
		}
	case "floor":
		handler = floor(upstream)
	case "router", "receipts":
		stop := func() error { return nil }
		if handler, stop, err = gridRouter(ctx, upstream, role == "receipts"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	case "https":
		handler, ln, err = plainHTTPS(ln)
	case "meshserver", "meshrelay", "caller", "together", "links":
		var stop func() error
		if handler, stop, err = meshRole(ctx, role, upstream); err == nil {
			defer func() { err = errors.Join(err, stop()) }()
		}
	default:
		return fmt.Errorf("no role %q", role)
	}
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.HandleFunc("GET /bench/goroutines", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		debug.FreeOSMemory()
		fmt.Fprint(w, runtime.NumGoroutine())
	})
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
