package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"lobstah/internal/cli"
	"lobstah/mesh/config"
)

// certificate is what port 19000 shows to TLS clients: that of the
// configuration, else the node's own.
func (n *node) certificate() (*tls.Config, error) {
	if n.config.TLSCert == "" {
		return n.id.ServerTLS()
	}
	c := &certificate{node: n}
	if err := c.load(); err != nil {
		return nil, cli.Hintf(err, "correct tlsCert and tlsKey in %s; without them the node makes a certificate of its own", n.home.Config)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}, nil
}

const certificateAge = time.Minute

// certificate follows files that are renewed from time to time.
type certificate struct {
	node *node

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	changed time.Time // of the file
	looked  time.Time
}

func (c *certificate) load() error {
	info, err := os.Stat(c.node.config.TLSCert)
	if err != nil {
		return fmt.Errorf("tlsCert: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.node.config.TLSCert, c.node.config.TLSKey)
	if err != nil {
		return fmt.Errorf("tlsCert and tlsKey: %w", err)
	}
	c.current, c.changed = &pair, info.ModTime()
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > certificateAge {
		c.looked = now
		if info, err := os.Stat(c.node.config.TLSCert); err == nil && !info.ModTime().Equal(c.changed) {
			if err := c.load(); err != nil {
				c.node.log.Error("the renewed certificate cannot be used; the one before stays", "err", err)
			}
		}
	}
	return c.current, nil
}

// localOnly keeps web pages out of a port of this machine: a browser names the
// page in Origin, and a page that points a name of its own here names it in Host.
func localOnly(port int, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, number, err := net.SplitHostPort(r.Host)
		if err != nil {
			host, number = r.Host, strconv.Itoa(port)
		}
		if !config.Loopback(host) || number != strconv.Itoa(port) || !localOrigin(r.Header.Get("Origin")) {
			http.Error(w, "this address is for programs of this machine, and not for web pages", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func localOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && config.Loopback(u.Hostname())
}
