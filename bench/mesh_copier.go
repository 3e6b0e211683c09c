package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// copyBytes is the least that a relay does: it copies bytes between two
// connections. What it adds any process between two others adds on this machine.
func copyBytes(ctx context.Context, ln net.Listener, upstream string) error {
	context.AfterFunc(ctx, func() { ln.Close() })
	var copying sync.WaitGroup
	defer copying.Wait()
	for {
		near, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		far, err := net.Dial("tcp", upstream)
		if err != nil {
			return errors.Join(err, near.Close())
		}
		closeBoth := sync.OnceFunc(func() { near.Close(); far.Close() })
		context.AfterFunc(ctx, closeBoth)
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			copying.Go(func() {
				defer closeBoth()
				// Only Read and Write, since no relay that encrypts can leave the copying to the system.
				io.CopyBuffer(struct{ io.Writer }{way[0]}, struct{ io.Reader }{way[1]}, make([]byte, 64<<10))
			})
		}
	}
}
