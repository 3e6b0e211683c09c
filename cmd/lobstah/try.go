package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/grid/router"
	"lobstah/internal/cli"
	"lobstah/receipt"
)

const tryTokens = 60

// onePeer is a list of peers.
type onePeer []grid.Peer

func (l onePeer) List() []grid.Peer { return l }

// try asks one peer and nobody else, whatever the pool's router would choose,
// and keeps the receipt like any other. It has a router of its own for as long.
func (p *process) try(ctx context.Context, in tryRequest) (got *answer, err error) {
	if err := p.reload(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.peers.Peers(), func(peer grid.Peer) bool { return peer.ID == in.Peer })
	if i < 0 {
		return nil, fmt.Errorf("%s is no peer", in.Peer.Short())
	}
	transport := new(channel.Transport)
	defer transport.Close()
	guard := receipt.NewNonce() // nobody else on this machine asks through it
	r, err := router.New(router.Config{
		Identity: p.id.Pair, Peers: onePeer{p.peers.Peers()[i]}, RoundTripper: transport.RoundTripper, Ledger: routerBook{p.book},
		Keys: []string{guard}, Logger: p.log.With("part", "first question"),
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	server := &http.Server{Handler: r, ReadHeaderTimeout: headerPatience}
	var tasks sync.WaitGroup
	tasks.Go(func() { r.Run(run) })
	tasks.Go(func() { _ = server.Serve(l) }) // ends by Close; what fails before is seen by who asks
	defer func() {
		err = cmp.Or(err, r.Drain(ctx)) // the receipt is written by then
		err = cmp.Or(err, server.Close())
		stop()
		tasks.Wait()
	}()
	return askOne(ctx, &apiClient{"http://" + l.Addr().String(), guard}, in)
}

func askOne(ctx context.Context, client *apiClient, in tryRequest) (*answer, error) {
	models, err := client.models(ctx)
	if err != nil {
		return nil, err
	}
	if len(in.Models) > 0 {
		models = slices.DeleteFunc(models, func(m grid.Model) bool { return !slices.ContainsFunc(in.Models, m.Serves) })
	}
	best, ok := bestModel(models)
	if !ok {
		return nil, errors.New("it has no model that answers questions")
	}
	got, err := client.stream(ctx, chatRequest{Model: best.ID, Messages: []message{{"user", in.Question}}, MaxTokens: tryTokens}, listener{Piece: func(string) {}})
	if err != nil {
		return nil, err
	}
	if got.Text == "" {
		return nil, fmt.Errorf("%s answered nothing", cli.CleanLine(best.ID))
	}
	return got, nil
}
