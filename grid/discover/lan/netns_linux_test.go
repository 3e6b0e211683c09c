package lan

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lobstah/grid/announce"
	"lobstah/grid/channel"
	"lobstah/grid/discover"
	"lobstah/key"
)

// roleVariable makes the test program one of the machines of a network.
const roleVariable = "LOBSTAH_LAN_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "router":
		err = beRouter()
	default:
		err = beWorker(role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const workerPort = 17474

// beWorker serves the board of pair(9) and obeys lines: publish, withdraw. A
// role of impostor tells the same hints from its own address, with its own
// key behind them.
func beWorker(role string) error {
	p := pair(9)
	serving := p
	if role == "impostor" {
		serving = pair(10)
	}
	config, err := serving.ServerTLS()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", workerPort))
	if err != nil {
		return err
	}
	board := NewBoard(workerPort, nil)
	mux := http.NewServeMux()
	mux.Handle(Path, board)
	go http.Serve(tls.NewListener(l, config), mux)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var err error
		switch lines.Text() {
		case "publish":
			s, signErr := announce.Sign(p, announce.Offer{ID: p.ID(), URL: "https://192.0.2.1:17474", Label: "far", TTL: 5 * time.Minute, AnnouncedAt: time.Now()})
			if signErr != nil {
				return signErr
			}
			_, err = board.Publish(context.Background(), s)
		case "withdraw":
			err = board.Withdraw(context.Background(), announce.Withdraw(p, time.Now()))
		}
		fmt.Println("done", err)
	}
	return nil
}

// seenOffer is what the router prints of a worker.
type seenOffer struct {
	ID         key.ID
	URL, Where string
}

// beRouter prints, for each line, whom it finds.
func beRouter() error {
	source := NewSource(Config{Reach: (&channel.Transport{}).RoundTripper})
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		list := []seenOffer{}
		if err := source.Collect(context.Background(), func(f discover.Found) {
			list = append(list, seenOffer{f.Offer.ID, f.URL, f.Where})
		}); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(list); err != nil {
			return err
		}
	}
	return nil
}

// a node is a machine of the network: a network namespace with a process.
type node struct {
	t   *testing.T
	ns  string
	in  io.WriteCloser
	out *bufio.Reader
}

func (n *node) say(line string) string {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.in, line); err != nil {
		n.t.Fatalf("%s: %v", n.ns, err)
	}
	answer, err := n.out.ReadString('\n')
	if err != nil {
		n.t.Fatalf("%s answered %q to %q: %v", n.ns, answer, line, err)
	}
	return strings.TrimSpace(answer)
}

func (n *node) finds() (list []seenOffer) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.say("collect")), &list); err != nil {
		n.t.Fatal(err)
	}
	return list
}

// meets is what it finds as soon as it finds anything: on a busy machine a round
// may be over before its packets have come.
func (n *node) meets() (list []seenOffer) {
	n.t.Helper()
	for range 20 {
		if list = n.finds(); len(list) > 0 {
			break
		}
	}
	return list
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// joined makes namespaces that a bridge joins; each has the addresses given.
func joined(t *testing.T, prefix string, names []string, addresses func(n int) []string) map[string]string {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing(t, "install iproute2: %v", err)
	}
	prefix = fmt.Sprintf("lan%d%s", os.Getpid(), prefix)
	if out, err := exec.Command("ip", "netns", "add", prefix+"sw").CombinedOutput(); err != nil {
		missing(t, "no network namespaces here: %s", out)
	}
	made := map[string]string{}
	t.Cleanup(func() {
		for _, ns := range made {
			ip(t, "netns", "del", ns)
		}
		ip(t, "netns", "del", prefix+"sw")
	})
	sw := prefix + "sw"
	ip(t, "-n", sw, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	ip(t, "-n", sw, "link", "set", "br0", "up")
	for i, name := range names {
		ns, port := prefix+name, fmt.Sprintf("p%d", i)
		ip(t, "netns", "add", ns)
		made[name] = ns
		ip(t, "-n", sw, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		ip(t, "-n", sw, "link", "set", port, "master", "br0")
		ip(t, "-n", sw, "link", "set", port, "up")
		ip(t, "-n", ns, "link", "set", "lo", "up")
		ip(t, "-n", ns, "link", "set", "eth0", "addrgenmode", "none")
		for _, a := range addresses(i + 1) {
			ip(t, "-n", ns, "addr", "add", a, "dev", "eth0", "nodad")
		}
		ip(t, "-n", ns, "link", "set", "eth0", "up")
		// A second network, without neighbours.
		ip(t, "-n", ns, "link", "add", "alone", "type", "veth", "peer", "name", "nobody")
		ip(t, "-n", ns, "link", "set", "alone", "up")
		ip(t, "-n", ns, "link", "set", "nobody", "up")
		ip(t, "-n", ns, "addr", "add", fmt.Sprintf("10.99.%d.1/24", i), "dev", "alone")
	}
	return made
}

// missing ends a test that this machine cannot run; in CI it fails.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func start(t *testing.T, ns, role string) *node {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", ns, program)
	cmd.Env, cmd.Stderr = append(os.Environ(), roleVariable+"="+role), t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	return &node{t, ns, in, bufio.NewReader(out)}
}

// busConfig lets everybody do everything on a bus of a test's own.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`

// avahi runs Avahi, which we did not write, on a machine and returns what
// browses there.
func avahi(t *testing.T, ns string) (browse func() string) {
	t.Helper()
	for _, program := range []string{"avahi-daemon", "avahi-browse", "dbus-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "install avahi-daemon, avahi-utils and dbus: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "bus") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, config := dir+"/s", dir+"/c"
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	daemon(t, socket, "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address=1")
	// In namespaces of its own it meets no Avahi of this machine.
	daemon(t, "Server startup complete", "ip", "netns", "exec", ns, "sh", "-c",
		"mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f /dev/null 2>&1")
	return func() string {
		out, err := exec.Command("ip", "netns", "exec", ns, "avahi-browse", "-rpt", "_lobstah._tcp").Output()
		if err != nil {
			t.Fatalf("avahi-browse: %v", err)
		}
		return string(out)
	}
}

// daemon runs a command until the test ends, and waits for the line with ready
// in it.
func daemon(t *testing.T, ready string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		cmd.Process.Kill() // an interrupt is ignored by what was started from a shell's background
		cmd.Wait()         // it was killed
	})
	for lines.Scan() {
		if strings.Contains(lines.Text(), ready) {
			return
		}
	}
	t.Fatalf("%s ended before it was ready: %v", command, lines.Err())
}

// TestAvahi shows a worker to Avahi, as people's network browsers would see it.
func TestAvahi(t *testing.T) {
	spaces := joined(t, "avahi", []string{"w", "b"}, func(n int) []string { return []string{fmt.Sprintf("10.77.0.%d/24", n)} })
	browse, worker := avahi(t, spaces["b"]), start(t, spaces["w"], "worker")
	worker.say("publish")
	want := fmt.Sprintf(`=;eth0;IPv4;%[1]s;_lobstah._tcp;local;%[1]s.local;10.77.0.1;17474;`, host(pair(9).ID()))
	got := browse()
	for range 20 {
		if strings.Contains(got, "=;") {
			break
		}
		got = browse() // it takes a while to ask
	}
	if !strings.Contains(got, want) || !strings.Contains(got, `"key=`+pair(9).ID().String()+`"`) {
		t.Errorf("Avahi sees\n%s\nwant %s", got, want)
	}
	worker.say("withdraw")
	for range 20 {
		if got = browse(); !strings.Contains(got, "=;") {
			return
		}
	}
	t.Errorf("Avahi still sees\n%s", got)
}

// TestNeighbours joins machines by a switch: the router finds the worker at the
// address where it is near, whatever its offer says, by IPv4 and by IPv6, with
// a second network and an impostor beside it; and no longer when it has left.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		addresses func(n int) []string
		url       string
	}{
		"IPv6": {func(n int) []string { return []string{fmt.Sprintf("fe80::%d/64", n), fmt.Sprintf("fd77::%d/64", n)} }, "https://[fd77::1]:17474"},
		"both": {func(n int) []string {
			return []string{fmt.Sprintf("fe80::%d/64", n), fmt.Sprintf("fd77::%d/64", n), fmt.Sprintf("10.77.0.%d/24", n)}
		}, "https://10.77.0.1:17474"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is listening
			spaces := joined(t, name, []string{"w", "x", "r"}, test.addresses)
			worker, impostor, router := start(t, spaces["w"], "worker"), start(t, spaces["x"], "impostor"), start(t, spaces["r"], "router")
			if list := router.finds(); len(list) != 0 {
				t.Fatalf("before anybody announces: %+v", list)
			}
			for _, n := range []*node{worker, impostor} {
				if got := n.say("publish"); got != "done <nil>" {
					t.Fatalf("publish: %s", got)
				}
			}
			for range 2 {
				list := router.meets()
				if len(list) != 1 || list[0] != (seenOffer{pair(9).ID(), test.url, "eth0"}) {
					t.Fatalf("found %+v; want the worker at %s", list, test.url)
				}
			}
			if got := worker.say("withdraw"); got != "done <nil>" {
				t.Fatalf("withdraw: %s", got)
			}
			if list := router.finds(); len(list) != 0 {
				t.Errorf("after it left: %+v", list)
			}
			// And it can come back.
			worker.say("publish")
			if list := router.meets(); len(list) != 1 {
				t.Errorf("after it came back: %+v", list)
			}
		})
	}
}
