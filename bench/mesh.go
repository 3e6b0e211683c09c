package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
)

// The parts of the mesh, each a process of its own:
//
//	https <──────────────────────── plain     TLS 1.3 and HTTP/2, no mesh
//	meshserver <─────────────────── direct    one link
//	meshserver ───> meshrelay <──── relayed   two links, one relay
//
// The three callers on the right take the same measurements (see mesh_load.go). A
// small request is measured with all parts in one process too: between processes
// it waits for the system to wake two more of them.
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

// meshParts are the running processes.
type meshParts struct {
	https, server, relay  *process
	plain, direct, relay1 *meshCaller

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
	p.relay = begin("meshrelay", "")
	p.server = begin("meshserver", addr(p.relay))
	plain := begin("caller", "plain="+addr(p.https))
	direct := begin("caller", "direct="+addr(p.server))
	relayed := begin("caller", "relayed="+addr(p.relay))
	plainInOne, relayInOne := begin("together", "plain"), begin("together", "relayed")
	if err != nil {
		stop()
		return nil, nil, err
	}
	p.plainInOne, p.relayInOne = &meshCaller{process: plainInOne}, &meshCaller{process: relayInOne}
	p.plain = &meshCaller{process: plain, works: []*process{plain, p.https}}
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
	cpu, err := c.do(ctx, "bulk", p.mebibytes, &took)
	if err != nil {
		return err
	}
	c.bulk = max(c.bulk, float64(p.mebibytes<<20)/took.Took.Seconds())
	c.bulkCPU = best(c.bulkCPU, cpu/time.Duration(p.mebibytes))
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
	for _, c := range slices.Concat(ways, inOne) {
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
		for _, c := range inOne {
			if err := c.request(ctx, p); err != nil {
				return err
			}
		}
	}
	showWays(parts.plain, parts.direct, parts.relay1)
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

func showWays(plain, direct, relayed *meshCaller) {
	line := func(name, a, b, c, target string, pass bool) {
		fmt.Printf("%-34s %12s %12s %12s   %s\n", name, a, b, c, verdict(target, pass))
	}
	fmt.Printf("%-34s %12s %12s %12s   %s\n", "mesh, best of the rounds", "HTTPS/2", "one link", "one relay", "target, through the relay")
	frames := func(name string, of func(*meshCaller) time.Duration) {
		times := float64(of(relayed)) / float64(of(plain))
		line("CPU of a token frame, "+name, of(plain).String(), of(direct).String(), of(relayed).String(), fmt.Sprintf("%.2f times HTTPS/2, at most 2", times), times <= 2)
	}
	frames("busy", func(c *meshCaller) time.Duration { return c.busy })
	frames("sparse", func(c *meshCaller) time.Duration { return c.sparse })
	added := relayed.small - plain.small
	line("small request, back to back", round(plain.small), round(direct.small), round(relayed.small), fmt.Sprintf("%s added, at most 80µs", round(added)), added <= 80*time.Microsecond)
	line("token beside bulk, p95", round(plain.beside.P95), round(direct.beside.P95), round(relayed.beside.P95), "under 5ms", relayed.beside.P95 < 5*time.Millisecond)
	line("token beside bulk, median", round(plain.beside.P50), round(direct.beside.P50), round(relayed.beside.P50), "", true)
	share := relayed.bulk / direct.bulk
	line("bulk, MB/s", megabytes(plain.bulk), megabytes(direct.bulk), megabytes(relayed.bulk), fmt.Sprintf("%.2f of one link, at least 0.7", share), share >= 0.7)
	line("bulk, CPU of a MiB", round(plain.bulkCPU), round(direct.bulkCPU), round(relayed.bulkCPU), "", true)
	fmt.Printf("%-34s %.2f of HTTPS/2\n", "bulk over one link", direct.bulk/plain.bulk)
}

func showInOne(plain, relayed *meshCaller) {
	added := relayed.small - plain.small
	fmt.Printf("%-34s %12s %12s %12s   %s\n", "the same, all in one process", round(plain.small), "", round(relayed.small),
		verdict(fmt.Sprintf("%s added, at most 80µs", round(added)), added <= 80*time.Microsecond))
}

func megabytes(perSecond float64) string { return fmt.Sprintf("%.0f", perSecond/1e6) }

func verdict(target string, pass bool) string {
	switch {
	case target == "":
		return ""
	case pass:
		return "ok    " + target
	}
	return "MISSED " + target
}

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

var (
	restLine    = regexp.MustCompile(`(\d+) nodes at rest: (\d+) bytes per node and minute, at most (\d+)`)
	healingLine = regexp.MustCompile(`healing, (\S+): (\d+) bytes per node, at most (\d+)`)
)

// measureGossip runs the simulator of mesh/member, which lives in its tests: all
// nodes in one process and virtual time, with clocks that are wrong and messages
// that are lost.
func measureGossip(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestPartitionHeals$/^loss_0.1$", "lobstah/mesh/member")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("simulate the gossip: %w\n%s", err, out)
	}
	rest, healing := restLine.FindSubmatch(out), healingLine.FindSubmatch(out)
	if rest == nil || healing == nil {
		return fmt.Errorf("the simulator said nothing that is known here:\n%s", out)
	}
	took, err := time.ParseDuration(string(healing[1]))
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %s bytes a minute at rest, at most %s\n", fmt.Sprintf("gossip of %s nodes, each", rest[1]), rest[2], rest[3])
	fmt.Printf("%-34s %s with a tenth lost, %s bytes each   %s\n", "settled after a partition", took, healing[2], verdict("under 10 s", took < 10*time.Second))
	return nil
}

// measuring is the control of a caller.
type measuring struct {
	http.RoundTripper
	url string
}

func (m *measuring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	take := map[string]func(context.Context, int, *measured) error{
		"busy": m.busy, "sparse": m.sparse, "small": m.small, "bulk": m.bulk, "beside": m.beside,
	}[r.FormValue("what")]
	var out measured
	switch {
	case r.URL.Path != "/bench/measure" || take == nil:
		err = fmt.Errorf("nothing called %s", r.URL)
	case err == nil:
		begin := time.Now()
		err = take(r.Context(), n, &out)
		out.Took = time.Since(begin)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(out)
}

func (m *measuring) open(ctx context.Context, path string, n int) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s?n=%d", m.url, path, n), nil)
	if err != nil {
		return nil, err
	}
	response, err := m.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return response.Body, nil
}

func (m *measuring) drain(ctx context.Context, path string, n int, want int64) error {
	body, err := m.open(ctx, path, n)
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.Copy(io.Discard, bufio.NewReaderSize(body, 32<<10))
	if err == nil && got != want {
		err = fmt.Errorf("%s: %d bytes, want %d", path, got, want)
	}
	return err
}
