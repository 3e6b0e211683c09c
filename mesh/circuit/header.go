package circuit

import (
	"fmt"
	"io"
	"slices"

	"lobstah/key"
)

// A circuit begins with a header, and its answer is one status:
//
//	header  version [1], TTL [1], destination [32], count [1], node [32] for each node passed
//	status  code [1], node [32] that produced it
//
// Everything after these is opaque to relays.
const (
	version = 1
	// TTL is how many links a circuit may still cross when it begins.
	TTL = 8
	// MaxTTL is what relays accept of others.
	MaxTTL = 16
)

type header struct {
	ttl  int
	dest key.ID
	path []key.ID // the origin first, the node that sends the header last
}

func (h *header) encode() []byte {
	b := append([]byte{version, byte(h.ttl)}, h.dest[:]...)
	b = append(b, byte(len(h.path)))
	for _, id := range h.path {
		b = append(b, id[:]...)
	}
	return b
}

// readHeader reads a header that came from a neighbour and checks that it is one
// that an honest neighbour could have sent.
func readHeader(r io.Reader, from key.ID) (h header, err error) {
	var fixed [2 + 32 + 1]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return h, fmt.Errorf("read the header of a circuit: %w", err)
	}
	h.ttl, h.dest = int(fixed[1]), key.ID(fixed[2:34])
	count := int(fixed[34])
	if fixed[0] != version || h.ttl == 0 || h.ttl > MaxTTL || count == 0 || count > MaxTTL {
		return h, fmt.Errorf("header of a circuit: version %d, TTL %d, %d nodes passed", fixed[0], h.ttl, count)
	}
	h.path = make([]key.ID, count)
	for i := range h.path {
		if _, err := io.ReadFull(r, h.path[i][:]); err != nil {
			return h, fmt.Errorf("read the header of a circuit: %w", err)
		}
	}
	if h.path[count-1] != from {
		return h, fmt.Errorf("header of a circuit: it names %s as its last node and came from %s", h.path[count-1].Short(), from.Short())
	}
	return h, nil
}

// origin is who began the circuit, by the word of the nodes on the way.
func (h *header) origin() key.ID { return h.path[0] }

func (h *header) passed(id key.ID) bool { return slices.Contains(h.path, id) }

// A Code says why a circuit did not come about.
type Code byte

// The codes.
const (
	OK Code = iota
	NoRoute
	TTLExceeded
	Loop
	Limit    // the relay carries as much as it will for this member
	PeerGone // the next hop ended on the way
	Refused  // the destination does not take circuits now
	Protocol
)

func (c Code) String() string {
	names := [...]string{"ok", "no route to the node", "too many hops", "the way leads back to itself", "the relay carries no more for this member",
		"the next node is gone", "the node does not accept connections", "the protocol was broken"}
	if int(c) >= len(names) {
		return fmt.Sprintf("code %d", int(c))
	}
	return names[c]
}

// Error is a refused circuit: Hop is the node that refused it.
type Error struct {
	Code Code
	Hop  key.ID
}

func (e *Error) Error() string { return fmt.Sprintf("%s (says %s)", e.Code, e.Hop.Short()) }

func (e *Error) encode() []byte { return append([]byte{byte(e.Code)}, e.Hop[:]...) }

func readStatus(r io.Reader) (Error, error) {
	var b [1 + 32]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Error{}, fmt.Errorf("read the status of a circuit: %w", err)
	}
	return Error{Code(b[0]), key.ID(b[1:])}, nil
}
