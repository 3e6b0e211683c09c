// Package channel is the connection between a router and a worker: one port
// that answers HTTP and TLS 1.3 alike, and the client that reaches it.
//
// A worker serves HTTP on an internal/dualport; a router gets the round tripper of a
// peer from [Transport.RoundTripper]. Whatever the scheme of a peer's URL says,
// TLS pinned to the peer's key is spoken; plain HTTP is left to programs that
// know no TLS, on loopback or where the user marked the peer insecure.
//
// cmd composes it; it imports key and grid. Everything before the handshake is
// hostile: time and number of unproven connections are bounded. Addresses of
// peers that strangers named are hostile too: the address that is really
// dialled is checked ([Forbidden]), and redirects are never followed. Failures
// are an [*Error] that names the step which failed.
package channel

import (
	"errors"
	"fmt"
	"net"
	"os"

	"lobstah/grid"
)

// A Step is a stage on the way to a peer.
type Step string

// The steps, in their order.
const (
	StepURL     Step = "url"     // the peer's URL cannot be used
	StepDNS     Step = "dns"     // its host's name was not found
	StepAddress Step = "address" // the address is one that a learned peer may not have
	StepTCP     Step = "tcp"     // nothing answered there
	StepTLS     Step = "tls"     // what answered does not speak TLS 1.3
	StepKey     Step = "key"     // it proved another key than the pinned one
)

var doing = map[Step]string{
	StepURL:     "read the peer's URL",
	StepDNS:     "look up its name",
	StepAddress: "check its address",
	StepTCP:     "connect",
	StepTLS:     "open TLS",
	StepKey:     "check its key",
}

// An Error is a failure to reach a peer.
type Error struct {
	Step Step
	Peer grid.Peer
	Addr string // host:port that was tried, empty when it never came so far
	Err  error
}

func (e *Error) Error() string {
	where := e.Addr
	if where == "" {
		where = e.Peer.URL
	}
	return fmt.Sprintf("reach %s at %s: %s: %v", e.Peer.Name(), where, doing[e.Step], plain(e.Err))
}

// plain is why a connection was not made, without the address that was told.
func plain(err error) error {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" && dial.Err != nil {
		err = dial.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Err != nil {
		return call.Err
	}
	return err
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what the user may do about it, in one line.
func (e *Error) Hint() string {
	switch e.Step {
	case StepURL:
		return "give the peer a URL such as http://192.0.2.7:17474"
	case StepDNS:
		return "check the host's spelling, or use its IP address"
	case StepAddress:
		return "add the peer yourself if you mean this address: lobstah peers add PUBKEY URL"
	case StepTCP:
		return "check that the worker runs, listens on that address (--host) and that no firewall is between"
	case StepTLS:
		return "the program there may be older: update it, or mark the peer insecure: lobstah peers add --insecure PUBKEY URL"
	case StepKey:
		return "another machine answers there, or the worker has a new identity: ask its owner for the key (lobstah id)"
	}
	return ""
}
