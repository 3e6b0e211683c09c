package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lobstah/mesh/member"
)

// Three hosts, two of them behind NAT, as network namespaces:
//
//	office 10.0.0.2 -- NAT 198.51.100.2 --+
//	                                      +-- internet 203.0.113.1 -- cloud 203.0.113.2
//	home   10.0.0.2 -- NAT 192.0.2.2    --+
//
// The NATs are nftables': they let out what goes out, and nothing in. The
// internet's machine also ends TLS for cloud-01.example.com, as a proxy does.
type network struct {
	t      *testing.T
	prefix string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	needs := func(ok bool, what string) {
		if ok {
			return
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("CI needs %s for hosts behind NAT", what)
		}
		t.Skipf("hosts behind NAT need %s", what)
	}
	needs(os.Geteuid() == 0, "root")
	for _, program := range []string{"ip", "nft"} {
		_, err := exec.LookPath(program)
		needs(err == nil, program)
	}
	n := &network{t: t, prefix: fmt.Sprintf("cm%d-%x", os.Getpid(), mrand.Uint32())} // a run that was killed may have left its own
	for _, host := range []string{"inet", "cloud", "natoffice", "nathome", "office", "home"} {
		n.host(host)
	}
	n.wire("inet", "203.0.113.1/30", "cloud", "203.0.113.2/30")
	n.wire("inet", "198.51.100.1/30", "natoffice", "198.51.100.2/30")
	n.wire("inet", "192.0.2.1/30", "nathome", "192.0.2.2/30")
	n.wire("natoffice", "10.0.0.1/24", "office", "10.0.0.2/24")
	n.wire("nathome", "10.0.0.1/24", "home", "10.0.0.2/24")
	for host, gateway := range map[string]string{"cloud": "203.0.113.1", "natoffice": "198.51.100.1", "nathome": "192.0.2.1", "office": "10.0.0.1", "home": "10.0.0.1"} {
		n.in(host, "ip", "route", "add", "default", "via", gateway)
	}
	for _, nat := range []string{"natoffice", "nathome"} {
		n.in(nat, "nft", `add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };
			add rule ip nat out oifname "inet" masquerade;
			add table ip filter; add chain ip filter through { type filter hook forward priority 0; policy accept; };
			add rule ip filter through iifname "inet" ct state new drop`)
	}
	return n
}

func (n *network) name(host string) string { return n.prefix + host }

func (n *network) run(args ...string) string {
	n.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// in runs a program on a host.
func (n *network) in(host string, args ...string) string {
	n.t.Helper()
	return n.run(append([]string{"ip", "netns", "exec", n.name(host)}, args...)...)
}

// host makes a namespace, which knows cloud-01.example.com by its hosts file.
func (n *network) host(host string) {
	n.t.Helper()
	n.run("ip", "netns", "add", n.name(host))
	etc := filepath.Join("/etc/netns", n.name(host))
	n.t.Cleanup(func() {
		n.run("ip", "netns", "del", n.name(host))
		os.RemoveAll(etc)
	})
	if err := os.MkdirAll(etc, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(etc, "hosts"), []byte("127.0.0.1 localhost\n203.0.113.1 cloud-01.example.com\n"), 0o644); err != nil {
		n.t.Fatal(err)
	}
	n.in(host, "ip", "link", "set", "lo", "up")
	n.in(host, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
}

// wire joins two hosts; each end bears the other's name.
func (n *network) wire(a, addressA, b, addressB string) {
	n.t.Helper()
	n.run("ip", "-n", n.name(a), "link", "add", b, "type", "veth", "peer", "name", a, "netns", n.name(b))
	for _, end := range [][3]string{{a, b, addressA}, {b, a, addressB}} {
		n.in(end[0], "ip", "address", "add", end[2], "dev", end[1])
		n.in(end[0], "ip", "link", "set", end[1], "up")
	}
}

// start runs a program on a host until the test ends.
func (n *network) start(host string, env []string, args ...string) *process {
	n.t.Helper()
	program, err := exec.LookPath(args[0])
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.name(host), program}, args[1:]...)...)
	cmd.Env = append(os.Environ(), env...)
	p := &process{t: n.t, cmd: cmd}
	if p.log, err = os.Create(filepath.Join(n.t.TempDir(), "log")); err != nil {
		n.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
		p.log.Close()
	})
	return p
}

// The configurations of the original's description, unchanged: a public node, an
// office and a home that dial it, with a secret of words, which is why a
// certificate stands before the public node.
func TestOriginalConfigurationsBehindNAT(t *testing.T) {
	n := newNetwork(t)
	dir := t.TempDir()
	authority, certificate, secretKey := n.certificates(dir)
	n.start("inet", []string{"PROXY_CERT=" + certificate, "PROXY_KEY=" + secretKey, "PROXY_TO=203.0.113.2:19000"}, "tlsproxy")
	homes := map[string]string{}
	for host, node := range map[string]string{"cloud": "cloud-01", "office": "office-01", "home": "home-01"} {
		original, err := filepath.Abs(filepath.Join("..", "..", "mesh", "config", "testdata", node+".json"))
		if err != nil {
			t.Fatal(err)
		}
		homes[host] = filepath.Join(dir, host)
		p := n.start(host, []string{"SSL_CERT_FILE=" + authority, "ANTHROPIC_API_KEY=none"}, "clawmatrix", "--home", homes[host], "--config", original, "start")
		p.home = homes[host]
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", node, p.logged())
			}
		})
	}
	eventually(t, "home reaches office through cloud", patienceInTests, func() bool { return seenAs(t, homes["home"], "office-01") == relayed })
	eventually(t, "office answers home", patienceInTests, func() bool { return answers(t, homes["home"], "office-01") })
	got := look(t, homes["home"], "office-01")
	if got.Via != "cloud-01" || !got.Trusted || got.Verified || names(got.Models, func(m member.Model) string { return m.ID }) != "claude-sonnet,deepseek-coder" {
		t.Errorf("home sees the office as %+v", got)
	}
	// Its toolProxy allows exec and denies write.
	if out := must(t, homes["home"], "exec", "office-01", "ls /sys/class/net"); !strings.Contains(out, "natoffice") {
		t.Errorf("exec on the office's host sees the interfaces %q; want natoffice", out)
	}
	if out := say(t, homes["home"], "tool", "office-01", "write", `{"path":"x","content":"y"}`); !strings.Contains(out, "error:") || !strings.Contains(out, "write") {
		t.Errorf("write, which is denied: %q", out)
	}
	if out := say(t, homes["office"], "exec", "home-01", "id"); !strings.Contains(out, "error:") {
		t.Errorf("exec on a node without toolProxy: %q", out)
	}
	n.cannotReach("home", "198.51.100.2:19000")
	n.cannotReach("home", "10.0.0.2:19000") // that is home itself, which does not listen

	// The provider gives home another address: the link dies without a word.
	n.in("nathome", "ip", "address", "del", "192.0.2.2/30", "dev", "inet")
	n.in("inet", "ip", "address", "del", "192.0.2.1/30", "dev", "nathome")
	n.in("inet", "ip", "address", "add", "192.0.2.129/30", "dev", "nathome")
	n.in("nathome", "ip", "address", "add", "192.0.2.130/30", "dev", "inet")
	n.in("nathome", "ip", "route", "add", "default", "via", "192.0.2.129")
	took := eventually(t, "home is back under its new address", 4*time.Minute, func() bool { return answers(t, homes["office"], "home-01") })
	t.Logf("home answered again %s after its address had changed", took)
}

// cannotReach makes sure that the test would notice if there were another way.
func (n *network) cannotReach(host, address string) {
	n.t.Helper()
	ip, port, _ := net.SplitHostPort(address)
	out, err := exec.Command("ip", "netns", "exec", n.name(host), "timeout", "3", "bash", "-c", "exec 3<>/dev/tcp/"+ip+"/"+port).CombinedOutput()
	if err == nil {
		n.t.Errorf("%s reaches %s directly: %s", host, address, out)
	}
}

// certificates makes an authority and what it signs for cloud-01.example.com.
func (n *network) certificates(dir string) (authority, certificate, key string) {
	n.t.Helper()
	check := func(err error) {
		if err != nil {
			n.t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	template := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true,
		}
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	ca := template("an authority for tests", 1)
	ca.IsCA = true
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, root.Public(), root)
	check(err)
	authority = write("ca.pem", "CERTIFICATE", der)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	leaf := template("cloud-01", 2)
	leaf.DNSNames = []string{"cloud-01.example.com"}
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, own.Public(), root)
	check(err)
	certificate = write("cert.pem", "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(own)
	check(err)
	return authority, certificate, write("key.pem", "PRIVATE KEY", der)
}
