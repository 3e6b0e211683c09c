// Package detect looks for inference engines on this machine: at OLLAMA_HOST and
// on the loopback ports where engines usually listen. Start from [Look]; commands
// import it.
//
// What answers is told apart by what only it has (Ollama's /api/version,
// owned_by in the list of models), and a worker or router of ours is never
// taken for an engine. Whatever listens on those ports is hostile input: answers
// are capped, and each look ends after [Config.Timeout].
package detect

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"lobstah/grid/engine/ollama"
)

// Config says where to look. The zero value is what a command wants.
type Config struct {
	OllamaHost string                // "": the OLLAMA_HOST variable
	Addresses  []string              // HOST:PORT; nil: the usual loopback ports
	Key        string                // for engines that demand one; Look sends it to those alone
	Timeout    time.Duration         // for each address; 0: 2 seconds
	Transport  http.RoundTripper     // nil: one of each engine's own
	Program    func() (string, bool) // where an Ollama is installed; nil: ollama.Program
}

// usual are the ports of Ollama, llama-server, LM Studio and vLLM.
var usual = []string{"127.0.0.1:11434", "127.0.0.1:8080", "127.0.0.1:1234", "127.0.0.1:8000"}

// dialTimeout is long for loopback, and short for a person who waits.
const dialTimeout = 500 * time.Millisecond

// Look asks all addresses at once and returns what it found, engines that can be
// used first, in the order of the addresses. Nothing at all is an empty list.
func Look(ctx context.Context, config Config) []Finding {
	config = config.withDefaults()
	candidates := config.candidates()
	found := make([]*Finding, len(candidates))
	var group sync.WaitGroup
	for i, c := range candidates {
		group.Go(func() {
			limited, cancel := context.WithTimeout(ctx, config.Timeout)
			defer cancel()
			found[i] = config.probe(limited, c)
		})
	}
	group.Wait()
	list := make([]Finding, 0, len(found)+1)
	for _, f := range found {
		if f != nil {
			list = append(list, *f)
		}
	}
	if f, ok := config.idleOllama(list); ok {
		list = append(list, f)
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(a.Problem, b.Problem) })
	return list
}

func (c Config) withDefaults() Config {
	if c.OllamaHost == "" {
		c.OllamaHost = os.Getenv("OLLAMA_HOST")
	}
	if c.Addresses == nil {
		c.Addresses = usual
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Program == nil {
		c.Program = ollama.Program
	}
	return c
}

// A candidate is an address to look at. One that the user named is reported even
// when nothing listens there.
type candidate struct {
	url   string
	dial  string // HOST:PORT
	named bool
}

func (c Config) candidates() []candidate {
	var list []candidate
	add := func(next candidate) {
		if !slices.ContainsFunc(list, func(o candidate) bool { return o.dial == next.dial }) && !ours(next.dial) {
			list = append(list, next)
		}
	}
	if c.OllamaHost != "" {
		base := ollama.HostURL(c.OllamaHost)
		add(candidate{base, dialAddress(base), true})
	}
	for _, address := range c.Addresses {
		add(candidate{"http://" + address, address, false})
	}
	return list
}

// listens reports whether anything accepts connections at an address.
func listens(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
