package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh/config"
)

func TestWebPagesAreKeptOut(t *testing.T) {
	t.Parallel()
	h := localOnly(19001, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, test := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:19001", "", http.StatusTeapot},
		{"localhost:19001", "http://localhost:3000", http.StatusTeapot},
		{"[::1]:19001", "", http.StatusTeapot},
		{"127.0.0.1:19001", "https://evil.example", http.StatusForbidden},
		{"127.0.0.1:19001", "null", http.StatusForbidden},
		{"rebound.example:19001", "", http.StatusForbidden},
		{"127.0.0.1:80", "", http.StatusForbidden},
		{"127.0.0.1.evil.example:19001", "", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
		r.Host = test.host
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("host %q, origin %q: %d; want %d", test.host, test.origin, w.Code, test.want)
		}
	}
}

// writeCertificate writes the certificate and key of a pair as files.
func writeCertificate(t *testing.T, dir string, pair key.Pair) {
	t.Helper()
	cert, err := pair.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: der}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateIsRenewedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := key.FromSeed([32]byte{1}), key.FromSeed([32]byte{2})
	writeCertificate(t, dir, first)
	n := &node{log: slog.New(slog.DiscardHandler), config: &config.Config{TLSCert: filepath.Join(dir, "cert.pem"), TLSKey: filepath.Join(dir, "key.pem")}}
	c := &certificate{node: n}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	shown := func() key.ID {
		t.Helper()
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		id, err := key.PeerID(tls.ConnectionState{PeerCertificates: []*x509.Certificate{parsed}})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if shown() != first.ID() {
		t.Error("the first certificate is not shown")
	}
	later := time.Now().Add(time.Hour)
	writeCertificate(t, dir, second)
	if err := os.Chtimes(n.config.TLSCert, later, later); err != nil {
		t.Fatal(err)
	}
	c.looked = time.Time{} // a minute has passed
	if shown() != second.ID() {
		t.Error("the renewed certificate is not shown")
	}
	if err := os.WriteFile(n.config.TLSCert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.looked = time.Time{}
	if shown() != second.ID() {
		t.Error("a damaged file took the sound certificate away")
	}
}
