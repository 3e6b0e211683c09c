package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"lobstah/key"
)

// The parts of the mesh, each a process of its own:
//
//	https <──────────────────────── plain     TLS 1.3 and HTTP/2, no mesh
//	https <─────── copier <──────── copied    the same, through a process that copies bytes
//	meshserver <─────────────────── direct    one link
//	meshserver ───> meshrelay <──── relayed   two links, one relay
//
// The callers on the right take the same measurements (mesh_caller.go) of what they
// call (mesh_load.go). A small request is measured with all parts in one process
// too: between processes it waits for the system to wake two more of them, which is
// what the copier shows.
var (
	httpsPair   = key.FromSeed([32]byte{10})
	relayPair   = key.FromSeed([32]byte{11})
	servingPair = key.FromSeed([32]byte{12})
	callerPairs = map[string]key.Pair{"direct": key.FromSeed([32]byte{13}), "relayed": key.FromSeed([32]byte{14})}
)

const (
	meshSecret = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	manyLinks  = 500
)

// meshParts are the running processes.
type meshParts struct {
	https, server, relay, copier  *process
	plain, copied, direct, relay1 *meshCaller

	plainInOne, relayInOne *meshCaller
}

// meshCaller is a caller with the processes that work for it, and its best figures.
type meshCaller struct {
	*process
	works []*process

	busy, sparse time.Duration // CPU of a frame
	small        time.Duration // a request, back to back: the median of a round
	bulk         float64       // bytes a second
	bulkCPU      time.Duration // of a MiB
	bulkApart    float64       // bytes a second while the ends have one processor and the relay another
	beside       besideBulk
}

func startMesh(ctx context.Context) (p *meshParts, stop func(), err error) {
	var running []*process
	stop = func() {
		for _, proc := range slices.Backward(running) {
			proc.stop()
		}
	}
	begin := func(role, upstream string) *process {
		if err != nil {
			return nil
		}
		var proc *process
		if proc, err = start(ctx, role, upstream); err == nil {
			running = append(running, proc)
		}
		return proc
	}
	p = new(meshParts)
	addr := func(proc *process) string {
		if proc == nil {
			return ""
		}
		return proc.addr
	}
	p.https = begin("https", "")
	p.copier = begin("copier", addr(p.https))
	p.relay = begin("meshrelay", "")
	p.server = begin("meshserver", addr(p.relay))
	plain := begin("caller", "plain="+addr(p.https))
	copied := begin("caller", "plain="+addr(p.copier))
	direct := begin("caller", "direct="+addr(p.server))
	relayed := begin("caller", "relayed="+addr(p.relay))
	plainInOne, relayInOne := begin("together", "plain"), begin("together", "relayed")
	if err != nil {
		stop()
		return nil, nil, err
	}
	p.plainInOne, p.relayInOne = &meshCaller{process: plainInOne}, &meshCaller{process: relayInOne}
	p.plain = &meshCaller{process: plain, works: []*process{plain, p.https}}
	p.copied = &meshCaller{process: copied, works: []*process{copied, p.copier, p.https}}
	p.direct = &meshCaller{process: direct, works: []*process{direct, p.server}}
	p.relay1 = &meshCaller{process: relayed, works: []*process{relayed, p.relay, p.server}}
	return p, stop, nil
}

// do lets the caller take one measurement and tells the CPU of all who took part.
func (c *meshCaller) do(ctx context.Context, what string, n int, out any) (time.Duration, error) {
	before, err := c.allCPU()
	if err != nil {
		return 0, err
	}
	query := url.Values{"what": {what}, "n": {strconv.Itoa(n)}}
	if err := call(ctx, http.MethodGet, c.addr, "/bench/measure?"+query.Encode(), "", nil, out); err != nil {
		return 0, err
	}
	after, err := c.allCPU()
	return after - before, err
}

func (c *meshCaller) allCPU() (sum time.Duration, err error) {
	for _, proc := range c.works {
		used, err := proc.cpu()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// round takes each measurement once and keeps the best.
func (c *meshCaller) round(ctx context.Context, p plan) error {
	var took measured
	for _, each := range []struct {
		what string
		n    int
		best *time.Duration
	}{{"busy", p.frames, &c.busy}, {"sparse", p.frames / 10, &c.sparse}} {
		cpu, err := c.do(ctx, each.what, each.n, &took)
		if err != nil {
			return err
		}
		*each.best = best(*each.best, cpu/time.Duration(each.n))
	}
	if err := c.request(ctx, p); err != nil {
		return err
	}
	if err := c.transfer(ctx, p); err != nil {
		return err
	}
	if _, err := c.do(ctx, "beside", p.frames/20, &took); err != nil {
		return err
	}
	if c.beside.P95 == 0 || took.Beside.P95 < c.beside.P95 {
		c.beside = took.Beside
	}
	return nil
}

// request measures a small request.
func (c *meshCaller) request(ctx context.Context, p plan) error {
	var took measured
	_, err := c.do(ctx, "small", p.calls, &took)
	c.small = best(c.small, took.Median)
	return err
}

// transfer measures bulk.
func (c *meshCaller) transfer(ctx context.Context, p plan) error {
	var took measured
	cpu, err := c.do(ctx, "bulk", p.mebibytes, &took)
	c.bulk = max(c.bulk, float64(p.mebibytes<<20)/took.Took.Seconds())
	c.bulkCPU = best(c.bulkCPU, cpu/time.Duration(p.mebibytes))
	return err
}

// transferApart measures bulk as between machines: the ends share a processor,
// with the relay or without, and the relay has one of its own.
func (p *meshParts) transferApart(ctx context.Context, plan plan) (err error) {
	processors, ok := twoProcessors()
	if !ok {
		return nil
	}
	ends := []*process{p.direct.process, p.relay1.process, p.server}
	for _, proc := range ends {
		err = errors.Join(err, proc.pin(processors[0]))
		defer func() { err = errors.Join(err, proc.pin()) }()
	}
	err = errors.Join(err, p.relay.pin(processors[1]))
	defer func() { err = errors.Join(err, p.relay.pin()) }()
	for _, c := range []*meshCaller{p.direct, p.relay1} {
		var took measured
		if err == nil {
			_, err = c.do(ctx, "bulk", plan.mebibytes, &took)
			c.bulkApart = max(c.bulkApart, float64(plan.mebibytes<<20)/took.Took.Seconds())
		}
	}
	return err
}

// measureMesh measures the ways of the mesh beside plain HTTPS, round after round,
// each with its target, then many links and the gossip of many nodes.
func measureMesh(ctx context.Context, p plan) error {
	parts, stop, err := startMesh(ctx)
	if err != nil {
		return err
	}
	defer stop()
	ways := []*meshCaller{parts.plain, parts.direct, parts.relay1}
	inOne := []*meshCaller{parts.plainInOne, parts.relayInOne}
	for _, c := range slices.Concat(ways, inOne, []*meshCaller{parts.copied}) {
		var reached measured
		if err := retry(ctx, func() error { _, err := c.do(ctx, "small", 1, &reached); return err }); err != nil {
			return err
		}
	}
	for range p.meshRounds {
		for _, c := range ways {
			if err := c.round(ctx, p); err != nil {
				return err
			}
		}
		if err := errors.Join(parts.copied.request(ctx, p), parts.copied.transfer(ctx, p)); err != nil {
			return err
		}
		for _, c := range inOne {
			if err := c.request(ctx, p); err != nil {
				return err
			}
		}
		if err := parts.transferApart(ctx, p); err != nil {
			return err
		}
	}
	showWays(parts.plain, parts.direct, parts.relay1)
	showApart(parts.direct, parts.relay1)
	showFloor(parts.plain, parts.copied)
	showInOne(parts.plainInOne, parts.relayInOne)
	if err := measureLinks(ctx, parts.relay); err != nil {
		return err
	}
	return measureGossip(ctx)
}

func retry(ctx context.Context, try func() error) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
