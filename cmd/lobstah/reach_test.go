package main

import (
	"net/netip"
	"slices"
	"testing"
)

// A joiner may not make this machine ask its own loopback, which would answer.
func TestOfferedAddress(t *testing.T) {
	t.Parallel()
	lan, here := netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		offered []string
		from    netip.Addr
		want    string
	}{
		{[]string{"10.0.0.7:1", "192.168.1.7:2"}, lan, "192.168.1.7:2"},
		{[]string{"10.0.0.7:1", "10.0.0.8:2"}, lan, "10.0.0.7:1"},
		{[]string{"127.0.0.1:1", "[::1]:1", "169.254.169.254:80", "localhost:1", "box.example:1", "0.0.0.0:1"}, lan, ""},
		{[]string{"127.0.0.1:1", "10.0.0.7:1"}, lan, "10.0.0.7:1"},
		{[]string{"127.0.0.3:1"}, here, "127.0.0.3:1"},
		{[]string{"169.254.169.254:80"}, here, ""},
		{nil, lan, ""},
	} {
		if got, ok := offeredAddress(tt.offered, tt.from); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q from %s: %q; want %q", tt.offered, tt.from, got, tt.want)
		}
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	if got := reachable("192.168.1.5"); !slices.Equal(got, []string{"192.168.1.5"}) {
		t.Errorf("a fixed address: %q", got)
	}
	got := reachable("0.0.0.0")
	if len(got) == 0 || len(got) > 3 {
		t.Errorf("%d addresses; want 1 to 3: %q", len(got), got)
	}
	for _, address := range got {
		if ip, err := netip.ParseAddr(address); err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast()) {
			t.Errorf("nobody else reaches %s", address)
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "0.0.0.0": false, "::": false, "192.168.1.5": false, "box": false} {
		if got := loopbackHost(host); got != want {
			t.Errorf("loopbackHost(%q) = %v; want %v", host, got, want)
		}
	}
}
