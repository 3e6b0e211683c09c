package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
)

// meshNode runs a node that dials the upstream, if there is one. What it serves to
// the mesh is load; its port answers the mesh's links, and a caller's control.
func meshNode(ctx context.Context, pair key.Pair, upstream string, control *measuring) (handler http.Handler, stop func() error, err error) {
	secret, err := link.NewSecret(meshSecret)
	if err != nil {
		return nil, nil, err
	}
	config := mesh.Config{Pair: pair, Name: pair.ID().Short(), Secrets: []link.Secret{secret}}
	if upstream != "" {
		config.Peers = []mesh.Peer{{URL: "ws://" + upstream}}
	}
	node, err := mesh.New(config)
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(serveLoad), HTTP2: &http.HTTP2Config{}}
	var running sync.WaitGroup
	var ran, served error
	running.Go(func() { ran = node.Run(ctx) })
	running.Go(func() { served = server.Serve(node.Listener()) })
	mux := http.NewServeMux()
	mux.Handle(link.Path, node)
	if control != nil {
		control.RoundTripper = node
		mux.Handle("/", control)
	}
	return mux, func() error {
		running.Wait()
		if errors.Is(served, http.ErrServerClosed) || errors.Is(served, net.ErrClosed) {
			served = nil
		}
		return errors.Join(ran, served, server.Close())
	}, nil
}

// together runs all parts of a way in this process: a caller with what it calls.
func together(ctx context.Context, way string) (http.Handler, func() error, error) {
	var stops []func() error
	stop := func() (err error) {
		for _, each := range stops {
			err = errors.Join(err, each())
		}
		return err
	}
	// open serves a part on a port of its own; the caller's upstream is that port.
	open := func(make func(net.Listener) (http.Handler, net.Listener, error)) (address string, err error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		handler, served, err := make(ln)
		if err != nil {
			return "", errors.Join(err, ln.Close())
		}
		server := &http.Server{Handler: handler}
		context.AfterFunc(ctx, func() { server.Close() })
		go server.Serve(served) // until the process ends, with ctx
		return ln.Addr().String(), nil
	}
	node := func(pair key.Pair, upstream string) func(net.Listener) (http.Handler, net.Listener, error) {
		return func(ln net.Listener) (http.Handler, net.Listener, error) {
			handler, end, err := meshNode(ctx, pair, upstream, nil)
			if err == nil {
				stops = append(stops, end)
			}
			return handler, ln, err
		}
	}
	first := plainHTTPS
	if way == "relayed" {
		first = node(relayPair, "")
	}
	address, err := open(first)
	if err == nil && way == "relayed" {
		_, err = open(node(servingPair, address))
	}
	if err != nil {
		return nil, nil, err
	}
	handler, end, err := caller(ctx, way+"="+address)
	stops = append(stops, end)
	return handler, stop, err
}

// meshRole runs one of the mesh's parts.
func meshRole(ctx context.Context, role, upstream string) (handler http.Handler, stop func() error, err error) {
	switch role {
	case "meshserver":
		return meshNode(ctx, servingPair, upstream, nil)
	case "meshrelay":
		return meshNode(ctx, relayPair, upstream, nil)
	case "together":
		return together(ctx, upstream)
	case "links":
		stop, err = holdLinks(ctx, upstream)
		return http.NotFoundHandler(), stop, err
	}
	return caller(ctx, upstream)
}

// plainHTTPS is the reference: the same handler behind TLS 1.3 and HTTP/2.
func plainHTTPS(ln net.Listener) (http.Handler, net.Listener, error) {
	cert, err := httpsPair.Certificate()
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	return http.HandlerFunc(serveLoad), tls.NewListener(ln, config), nil
}

// caller is one of the callers; upstream is its way and where that begins.
func caller(ctx context.Context, upstream string) (http.Handler, func() error, error) {
	way, address, _ := strings.Cut(upstream, "=")
	if way == "plain" {
		config := key.PinnedTLS(httpsPair.ID())
		config.NextProtos = []string{"h2"}
		transport := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: config}
		return &measuring{transport, "https://" + address}, func() error { transport.CloseIdleConnections(); return nil }, nil
	}
	pair, ok := callerPairs[way]
	if !ok {
		return nil, nil, fmt.Errorf("no way %q", way)
	}
	return meshNode(ctx, pair, address, &measuring{url: "mesh://" + servingPair.ID().String()})
}
