package channel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"lobstah/grid"
)

// ErrForbidden says that a learned peer may not be at an address.
var ErrForbidden = errors.New("a peer that strangers named may not be there")

// a zone is a range of addresses and what it is for.
type zone struct {
	prefix netip.Prefix
	what   string
}

func zones(pairs ...string) []zone {
	list := make([]zone, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, zone{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return list
}

var (
	// never lead to a stranger's worker, and often to this machine itself.
	forbidden = zones(
		"0.0.0.0/8", "unspecified",
		"127.0.0.0/8", "loopback",
		"169.254.0.0/16", "link-local, cloud metadata",
		"192.0.0.0/24", "protocol assignments, cloud metadata",
		"100.100.100.200/32", "cloud metadata",
		"168.63.129.16/32", "cloud metadata",
		"224.0.0.0/4", "multicast",
		"240.0.0.0/4", "reserved, broadcast",
		"::/96", "unspecified, loopback, IPv4-compatible",
		"fd00:ec2::/32", "cloud metadata",
		"fe80::/10", "link-local",
		"fec0::/10", "site-local",
		"ff00::/8", "multicast",
		"2001::/32", "Teredo",
	)
	private = zones(
		"10.0.0.0/8", "private",
		"172.16.0.0/12", "private",
		"192.168.0.0/16", "private",
		"100.64.0.0/10", "carrier-grade NAT, Tailscale",
		"fc00::/7", "unique local",
	)
	// carry an IPv4 address, which is the one that is reached; the number is
	// where its four bytes begin.
	embedding = map[netip.Prefix]int{
		netip.MustParsePrefix("64:ff9b::/96"):   12, // NAT64, RFC 6052
		netip.MustParsePrefix("64:ff9b:1::/96"): 12, // NAT64, RFC 8215
		netip.MustParsePrefix("2002::/16"):      2,  // 6to4, RFC 3056
	}
)

// Forbidden returns an error, wrapping [ErrForbidden], when a peer that
// strangers named may not be at addr: loopback, link-local, metadata,
// unspecified, multicast and the like, also inside an IPv6 address that embeds
// an IPv4 one. With blockPrivate, private networks count too.
func Forbidden(addr netip.Addr, blockPrivate bool) error {
	plain := addr.Unmap().WithZone("")
	for prefix, at := range embedding {
		if prefix.Contains(plain) {
			raw := plain.As16()
			return Forbidden(netip.AddrFrom4([4]byte(raw[at:at+4])), blockPrivate)
		}
	}
	list := forbidden
	if blockPrivate {
		list = append(list[:len(list):len(list)], private...)
	}
	for _, z := range list {
		if z.prefix.Contains(plain) {
			return fmt.Errorf("%w: %s is in %s (%s)", ErrForbidden, addr, z.prefix, z.what)
		}
	}
	return nil
}

// hostPort checks a peer's URL and returns the address to dial.
func hostPort(peer grid.Peer) (string, error) {
	u, err := url.Parse(peer.URL)
	switch {
	case err != nil:
		return "", fmt.Errorf("%.200q is not a URL", peer.URL)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("scheme %.40q is not http or https", u.Scheme)
	case u.Hostname() == "":
		return "", fmt.Errorf("%.200q names no host", peer.URL)
	case u.User != nil:
		return "", errors.New("a user name or password in a peer's URL means nothing here")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// CheckURL says whether a peer's URL can be dialled at all, without a look-up;
// literal addresses of learned peers are checked at once. The error is an
// [*Error].
func CheckURL(peer grid.Peer, blockPrivate bool) error {
	addr, err := hostPort(peer)
	if err != nil {
		return &Error{Step: StepURL, Peer: peer, Err: err}
	}
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && !peer.Origin.Trusted() {
		if err := Forbidden(ip, blockPrivate); err != nil {
			return &Error{Step: StepAddress, Peer: peer, Addr: addr, Err: err}
		}
	}
	return nil
}
