package ownaddress

import (
	"net/netip"
	"testing"
)

func TestRank(t *testing.T) {
	t.Parallel()
	order := []struct{ address, name string }{
		{"192.168.1.7", "eth0"}, {"100.100.1.1", "tailscale0"}, {"198.51.100.7", "eth0"}, {"fd00::7", "eth0"}, {"2001:db8::7", "eth0"}, {"172.17.0.1", "docker0"},
	}
	for i := range order[1:] {
		a, b := order[i], order[i+1]
		if rank(netip.MustParseAddr(a.address), a.name) >= rank(netip.MustParseAddr(b.address), b.name) {
			t.Errorf("%v does not come before %v", a, b)
		}
	}
}

func TestListLeavesOutWhatNobodyElseReaches(t *testing.T) {
	t.Parallel()
	list := List()
	if len(list) > most {
		t.Errorf("%d addresses; want at most %d", len(list), most)
	}
	for _, text := range list {
		if ip, err := netip.ParseAddr(text); err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			t.Errorf("nobody else reaches %s", text)
		}
	}
}
