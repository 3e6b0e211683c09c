package main

import (
	"net/netip"
	"slices"
	"testing"
)

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
