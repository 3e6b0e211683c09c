package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/mesh/link"
)

// measureLinks is the memory of a process that holds many links.
func measureLinks(ctx context.Context, relay *process) error {
	if _, err := relay.goroutines(); err != nil { // collects
		return err
	}
	before, err := relay.memory()
	if err != nil {
		return err
	}
	dialler, err := start(ctx, "links", relay.addr)
	if err != nil {
		return err
	}
	defer dialler.stop()
	if _, err := dialler.goroutines(); err != nil { // answers when all are up
		return err
	}
	after := math.Inf(1)
	for range 5 { // the news of so many links is still on its way at first
		if _, err := relay.goroutines(); err != nil {
			return err
		}
		held, err := relay.memory()
		if err != nil {
			return err
		}
		after = min(after, held)
		time.Sleep(time.Second)
	}
	fmt.Printf("%-34s %.1f MiB more, %.1f in all   %s\n", fmt.Sprintf("a node with %d links", manyLinks), after-before, after, verdict("at most 60 MiB more", after-before < 60))
	return nil
}

// holdLinks dials many links, each by a key and from a network of its own.
func holdLinks(ctx context.Context, upstream string) (stop func() error, err error) {
	secret, err := link.NewSecret(meshSecret)
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	for i := range manyLinks {
		dialer := &link.Dialer{
			Identity:    link.Identity{Pair: key.FromSeed([32]byte{20, byte(i), byte(i >> 8)}), Epoch: 1, Secrets: []link.Secret{secret}},
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i), byte(i>>8)+1)}}).DialContext,
		}
		l, err := dialer.Dial(ctx, "ws://"+upstream, key.ID{})
		if err != nil {
			return nil, err
		}
		running.Go(func() { l.Run(ctx, func([]byte) error { return nil }) })
	}
	return func() error { running.Wait(); return nil }, nil
}
