package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// figures are the best of a proxy's rounds.
type figures struct {
	*process
	name               string
	request, streaming time.Duration   // CPU of one
	requestMedian      time.Duration   // added to a direct request
	times              []time.Duration // of the pairs
}

func measureRouter(ctx context.Context, p plan) (err error) {
	var running []*process
	defer func() {
		for _, proc := range slices.Backward(running) {
			err = errors.Join(err, proc.stop())
		}
	}()
	begin := func(role, upstream string) (*process, error) {
		proc, err := start(ctx, role, upstream)
		if err == nil {
			running = append(running, proc)
		}
		return proc, err
	}
	upstream, err := begin("upstream", "") // plain HTTP, for the floor and the bare router
	if err != nil {
		return err
	}
	worker, err := begin("worker", "") // the channel's TLS, and receipts
	if err != nil {
		return err
	}
	var all []*figures
	for _, role := range []string{"floor", "router", "receipts"} {
		target := upstream
		if role == "receipts" {
			target = worker
		}
		proc, err := begin(role, target.addr)
		if err != nil {
			return err
		}
		if err := ready(ctx, proc.addr); err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		all = append(all, &figures{process: proc, name: role})
	}
	for range p.rounds {
		for _, f := range all {
			if err := f.round(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	if err := pairs(ctx, upstream.addr, all, p.pairs); err != nil {
		return err
	}
	compareToFloor(all)
	if err := idleStreams(ctx, all, p.idle); err != nil {
		return err
	}
	return soak(ctx, all, p.soak)
}

// compareToFloor prints what was measured of floor, router and receipts.
func compareToFloor(all []*figures) {
	floor := all[0]
	fmt.Printf("%-34s %12s %12s %12s\n", "", "floor", "router", "+ receipts")
	row("CPU per request", all, func(f *figures) time.Duration { return f.request })
	row("CPU per stream of 100 chunks", all, func(f *figures) time.Duration { return f.streaming })
	row("added to a request, median", all, func(f *figures) time.Duration { return f.requestMedian })
	fmt.Printf("%-34s %12s %12s %12s\n", "request over the floor", "1.00", ratio(all[1].request, floor.request), "+"+round(all[2].request-floor.request))
	fmt.Printf("%-34s %12s %12s %12s\n", "stream over the floor", "1.00", ratio(all[1].streaming, floor.streaming), ratio(all[2].streaming, floor.streaming))
	fmt.Printf("%-34s %12s %12s %12s\n", "median over the floor", "1.00", ratio(all[1].requestMedian, floor.requestMedian), ratio(all[2].requestMedian, floor.requestMedian))
}

// round measures the CPU of requests and of streams in a closed loop.
func (f *figures) round(ctx context.Context, p plan) error {
	request, err := f.each(ctx, wholeBody, p.requests)
	if err != nil {
		return err
	}
	stream, err := f.each(ctx, streamBody, p.streams)
	if err != nil {
		return err
	}
	f.request, f.streaming = best(f.request, request), best(f.streaming, stream)
	return nil
}

func (f *figures) each(ctx context.Context, body string, n int) (time.Duration, error) {
	before, err := f.cpu()
	if err != nil {
		return 0, err
	}
	if err := load(ctx, f.addr, body, n, 8); err != nil {
		return 0, err
	}
	after, err := f.cpu()
	return (after - before) / time.Duration(n), err
}

func best(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// pairs sends a request straight to the upstream and through each proxy, in
// turns and one at a time; the medians' differences are what a proxy adds.
func pairs(ctx context.Context, direct string, all []*figures, n int) error {
	straight := &figures{process: &process{addr: direct}}
	turns := append([]*figures{straight}, all...)
	for range n {
		for _, f := range turns {
			began := time.Now()
			if err := ask(ctx, f.addr, wholeBody); err != nil {
				return err
			}
			f.times = append(f.times, time.Since(began))
		}
	}
	for _, f := range all {
		f.requestMedian = median(f.times) - median(straight.times)
	}
	return nil
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

// idleStreams measures the memory of streams that stay open.
func idleStreams(ctx context.Context, all []*figures, n int) error {
	var sizes [3]float64
	for i, f := range all {
		closeAll, err := hold(ctx, f.addr, n)
		if err != nil {
			return fmt.Errorf("%s: hold %d streams: %w", f.name, n, err)
		}
		sizes[i], err = f.memory()
		closeAll()
		if err != nil {
			return err
		}
	}
	fmt.Printf("%-34s %8.1f MiB %8.1f MiB %8.1f MiB\n", fmt.Sprintf("memory with %d idle streams", n), sizes[0], sizes[1], sizes[2])
	return nil
}

// soak sends many requests and looks for what grew.
func soak(ctx context.Context, all []*figures, n int) error {
	for _, f := range all[1:] {
		if err := load(ctx, f.addr, wholeBody, n/10, 8); err != nil {
			return err
		}
		before, memBefore, err := f.size()
		if err != nil {
			return err
		}
		if err := load(ctx, f.addr, wholeBody, n, 8); err != nil {
			return err
		}
		after, memAfter, err := f.size()
		if err != nil {
			return err
		}
		fmt.Printf("%-34s goroutines %d -> %d, memory %.1f -> %.1f MiB\n", fmt.Sprintf("%s over %d requests", f.name, n), before, after, memBefore, memAfter)
	}
	return nil
}

func (f *figures) size() (goroutines int, memory float64, err error) {
	if goroutines, err = f.goroutines(); err != nil {
		return 0, 0, err
	}
	memory, err = f.memory()
	return goroutines, memory, err
}

func row(name string, all []*figures, value func(*figures) time.Duration) {
	fmt.Printf("%-34s %12s %12s %12s\n", name, round(value(all[0])), round(value(all[1])), round(value(all[2])))
}

func round(d time.Duration) string { return d.Round(time.Microsecond).String() }

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f", float64(a)/float64(b)) }
