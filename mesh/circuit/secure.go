package circuit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"lobstah/key"
)

// HandshakeTime is how long the ends of a circuit may take to prove their keys.
const HandshakeTime = 10 * time.Second

// Identity proves one node's key on the ends of circuits. Make it with
// [NewIdentity]; it is safe for concurrent use.
type Identity struct {
	cert  tls.Certificate
	admit func(key.ID) error
}

// NewIdentity makes the identity of a pair; admit refuses keys, such as revoked
// ones.
func NewIdentity(pair key.Pair, admit func(key.ID) error) (*Identity, error) {
	cert, err := pair.Certificate()
	if err != nil {
		return nil, fmt.Errorf("identity on circuits: %w", err)
	}
	return &Identity{cert, admit}, nil
}

// Client proves this node's key to dest and dest's key to this node. The
// protocols are offered by ALPN; none leaves the choice to the caller.
func (i *Identity) Client(ctx context.Context, raw net.Conn, dest key.ID, protocols ...string) (*tls.Conn, error) {
	config := i.config(func(state tls.ConnectionState) error { return key.VerifyPeer(state, dest) })
	config.NextProtos = protocols
	conn := tls.Client(raw, config)
	return conn, shake(ctx, conn, raw)
}

// Server does the same on the other end, for any key that is admitted. It speaks
// HTTP/2 with those that ask for it.
func (i *Identity) Server(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	config := i.config(func(state tls.ConnectionState) error {
		peer, err := key.PeerID(state)
		if err != nil {
			return err
		}
		return i.admit(peer)
	})
	config.NextProtos = []string{"h2", "http/1.1"}
	conn := tls.Server(raw, config)
	return conn, shake(ctx, conn, raw)
}

func shake(ctx context.Context, conn *tls.Conn, raw net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return fmt.Errorf("prove the keys of both ends: %w", err)
	}
	return nil
}

func (i *Identity) config(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		ServerName:   "clawmatrix",
		ClientAuth:   tls.RequireAnyClientCert,
		// Names and chains say nothing here; the key does.
		InsecureSkipVerify:          true,
		VerifyConnection:            verify,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
}
