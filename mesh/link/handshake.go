package link

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"lobstah/key"
)

// The handshake, inside TLS 1.3 whose certificates have shown both node keys.
// Integers are big-endian.
//
//	acceptor -> dialler   version [1], nonce [32], epoch [8]
//	dialler -> acceptor   nonce [32], epoch [8], count [1], proof [32] for each secret
//	acceptor -> dialler   which proof was right [1], proof [32]
//
// After anything wrong the acceptor says nothing, waits and hangs up.
const (
	handshakeVersion = 1
	handshakeTime    = 10 * time.Second
	alpn             = "clawmatrix/1"       // of members
	alpnGuest        = "clawmatrix-guest/1" // of those who know no secret
	exporterLabel    = "EXPORTER-clawmatrix-link-v1"

	roleDial   = "dial"
	roleAccept = "accept"

	challengeBytes = 1 + 32 + 8
	answerBytes    = 32 + 8 + 1
)

// errUnknownSecret is a proof that no secret of ours made: a guess, maybe.
var errUnknownSecret = errors.New("the node does not know the cluster secret")

// ErrRefused says that the other side did not take our proof: the secrets differ,
// or the key was revoked there.
var ErrRefused = errors.New("the node did not accept this one: check that both have the same secret, and that this node's key was not revoked there")

// ErrFalseServer says that the other side took our proof and could not prove the
// secret in turn.
var ErrFalseServer = errors.New("the node could not prove that it knows the cluster secret")

// ErrUnproven says that the secret is too weak to be proved to this server.
var ErrUnproven = errors.New("the server is neither pinned nor has a valid certificate, and the secret is too weak to be proved to a stranger: " +
	"pin the node's key, use wss:// with a valid certificate, or take a secret of 128 random bits or more")

// Identity is what a process brings to every link.
type Identity struct {
	Pair    key.Pair
	Epoch   uint64
	Secrets []Secret // the first is the newest; 1 to MaxSecrets

	// Retired secrets are proved to the pinned and taken from them only: whoever
	// was revoked knows them too.
	Retired []Secret
	Pinned  func(key.ID) bool // nil pins nobody
}

// secrets are those that count between this node and a peer.
func (id Identity) secrets(peer key.ID) []Secret {
	if id.Pinned == nil || !id.Pinned(peer) {
		return id.Secrets
	}
	return slices.Concat(id.Secrets, id.Retired)
}

func (id Identity) check() error {
	if id.Pair.IsZero() || len(id.Secrets) == 0 || len(id.Secrets)+len(id.Retired) > MaxSecrets {
		return fmt.Errorf("an identity needs a key and 1 to %d secrets", MaxSecrets)
	}
	return nil
}

func (id Identity) tls(admit func(key.ID) error, protocols ...string) (*tls.Config, error) {
	cert, err := id.Pair.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   protocols,
		ServerName:   "clawmatrix",
		ClientAuth:   tls.RequireAnyClientCert,
		// Names and chains say nothing here; the key does.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			peer, err := key.PeerID(state)
			if err != nil {
				return err
			}
			if !slices.Contains(protocols, state.NegotiatedProtocol) {
				return fmt.Errorf("the other side speaks %q, not %s", state.NegotiatedProtocol, protocols[0])
			}
			if peer == id.Pair.ID() {
				return errors.New("this is the node itself")
			}
			return admit(peer)
		},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}, nil
}

// established is a proven connection, before it is multiplexed.
type established struct {
	conn  *tls.Conn
	peer  key.ID
	epoch uint64
	guest bool // the peer has proven its key and no secret
}

// dialKeys proves both keys, which is all of a guest's handshake.
func (id Identity) dialKeys(ctx context.Context, raw net.Conn, admit func(key.ID) error, protocol string) (*tls.Conn, error) {
	config, err := id.tls(admit, protocol)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("prove the node keys: %w", err)
	}
	return conn, nil
}

// dialHandshake runs the dialler's side. mayProve decides, once the server's key
// is known, whether the proof may be sent.
func (id Identity) dialHandshake(ctx context.Context, raw net.Conn, admit func(key.ID) error, mayProve func(key.ID) error) (e established, err error) {
	conn, err := id.dialKeys(ctx, raw, admit, alpn)
	if err != nil {
		return e, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	t, err := id.begin(conn)
	if err != nil {
		return e, err
	}
	t.dialler, t.diallerEpoch = id.Pair.ID(), id.Epoch
	if t.acceptor, err = key.PeerID(conn.ConnectionState()); err != nil {
		return e, err
	}
	var challenge [challengeBytes]byte
	if _, err := io.ReadFull(conn, challenge[:]); err != nil {
		return e, fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	if challenge[0] != handshakeVersion {
		return e, fmt.Errorf("the node speaks version %d of the handshake, this one %d: update the older", challenge[0], handshakeVersion)
	}
	t.acceptorNonce, t.acceptorEpoch = [32]byte(challenge[1:33]), binary.BigEndian.Uint64(challenge[33:])
	if err := mayProve(t.acceptor); err != nil {
		return e, err
	}
	rand.Read(t.diallerNonce[:])
	if _, err := conn.Write(id.answer(t)); err != nil {
		return e, fmt.Errorf("send the proof: %w", err)
	}
	return established{conn: conn, peer: t.acceptor, epoch: t.acceptorEpoch}, id.checkReply(conn, t)
}

func (id Identity) answer(t *transcript) []byte {
	answer := append(t.diallerNonce[:], appendEpochs(nil, t.diallerEpoch)...)
	secrets := id.secrets(t.acceptor)
	answer = append(answer, byte(len(secrets)))
	for _, s := range secrets {
		answer = append(answer, s.prove(roleDial, t)...)
	}
	return answer
}

func (id Identity) checkReply(conn net.Conn, t *transcript) error {
	var reply [1 + proofBytes]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	which := int(reply[0])
	secrets := id.secrets(t.acceptor)
	if which >= len(secrets) || !hmac.Equal(reply[1:], secrets[which].prove(roleAccept, t)) {
		return ErrFalseServer
	}
	return nil
}

// acceptHandshake runs the acceptor's side.
func (id Identity) acceptHandshake(ctx context.Context, raw net.Conn, admit func(key.ID) error, protocols ...string) (e established, err error) {
	config, err := id.tls(admit, protocols...)
	if err != nil {
		return e, err
	}
	conn := tls.Server(raw, config)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		return e, fmt.Errorf("prove the node keys: %w", err)
	}
	if conn.ConnectionState().NegotiatedProtocol == alpnGuest {
		peer, err := key.PeerID(conn.ConnectionState())
		return established{conn: conn, peer: peer, guest: true}, err
	}
	t, err := id.begin(conn)
	if err != nil {
		return e, err
	}
	t.acceptor, t.acceptorEpoch = id.Pair.ID(), id.Epoch
	if t.dialler, err = key.PeerID(conn.ConnectionState()); err != nil {
		return e, err
	}
	rand.Read(t.acceptorNonce[:])
	challenge := append([]byte{handshakeVersion}, t.acceptorNonce[:]...)
	if _, err := conn.Write(appendEpochs(challenge, t.acceptorEpoch)); err != nil {
		return e, fmt.Errorf("send the challenge: %w", err)
	}
	reply, err := id.checkAnswer(conn, t)
	if err != nil {
		return established{conn: conn, peer: t.dialler}, err
	}
	_, err = conn.Write(reply)
	return established{conn: conn, peer: t.dialler, epoch: t.diallerEpoch}, err
}

// checkAnswer reads the dialler's proofs and returns what to reply.
func (id Identity) checkAnswer(conn net.Conn, t *transcript) ([]byte, error) {
	var answer [answerBytes]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return nil, fmt.Errorf("read the proof: %w", err)
	}
	t.diallerNonce, t.diallerEpoch = [32]byte(answer[:32]), binary.BigEndian.Uint64(answer[32:40])
	count := int(answer[40])
	if count == 0 || count > MaxSecrets {
		return nil, fmt.Errorf("%d proofs, want 1 to %d", count, MaxSecrets)
	}
	proofs := make([]byte, count*proofBytes)
	if _, err := io.ReadFull(conn, proofs); err != nil {
		return nil, fmt.Errorf("read the proof: %w", err)
	}
	for _, s := range id.secrets(t.dialler) {
		want := s.prove(roleDial, t)
		which := slices.IndexFunc(slices.Collect(slices.Chunk(proofs, proofBytes)), func(p []byte) bool { return hmac.Equal(p, want) })
		if which >= 0 {
			return append([]byte{byte(which)}, s.prove(roleAccept, t)...), nil
		}
	}
	return nil, errUnknownSecret
}

func (id Identity) begin(conn *tls.Conn) (*transcript, error) {
	state := conn.ConnectionState()
	exported, err := state.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		return nil, fmt.Errorf("bind the proof to the session: %w", err)
	}
	return &transcript{exporter: [32]byte(exported)}, nil
}

func appendEpochs(b []byte, epochs ...uint64) []byte {
	for _, e := range epochs {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}
