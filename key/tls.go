package key

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ErrNotPinned says that the other side of a TLS connection proved a key other
// than the expected one.
var ErrNotPinned = errors.New("the peer proved another key than the one it is known by")

// Certificate returns a self-signed certificate (RFC 8410) whose key is the
// pair's own. Nothing in it matters but the key, so it never expires.
func (p Pair) Certificate() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: p.ID().String()},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		// RFC 5280 section 4.1.2.5: this date means "no expiry".
		NotAfter:    time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.private.Public(), p.private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.private}, nil
}

// ServerTLS is the configuration of a server that proves p. TLS 1.3 only.
func (p Pair) ServerTLS() (*tls.Config, error) {
	cert, err := p.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"http/1.1"},
	}, nil
}

// PinnedTLS is the configuration of a client that talks to id and nobody else.
func PinnedTLS(id ID) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: "lobstah",
		NextProtos: []string{"http/1.1"},
		// Names and chains say nothing here; VerifyConnection checks the key,
		// on resumed sessions too.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return VerifyPeer(state, id) },
	}
}

// VerifyPeer checks that the other side of a finished handshake proved id; the
// error wraps [ErrNotPinned] and shows both keys.
func VerifyPeer(state tls.ConnectionState, id ID) error {
	got, err := PeerID(state)
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("%w: expected %s, got %s", ErrNotPinned, id, got)
	}
	return nil
}

// PeerID returns the key that the other side proved.
func PeerID(state tls.ConnectionState) (ID, error) {
	if len(state.PeerCertificates) == 0 {
		return ID{}, fmt.Errorf("%w: it showed no certificate", ErrNotPinned)
	}
	public, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return ID{}, fmt.Errorf("%w: its certificate has no Ed25519 key", ErrNotPinned)
	}
	return ID(public), nil
}
