package a2a

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// follows says whether a node may go on from one address of an agent to another,
// which the agent named: to the same host, or to whoever has a certificate for its
// name. Else an agent could send the node to services of the node's own network.
func follows(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Hostname() == "" || to.User != nil:
		return fmt.Errorf("the agent at %s names %.200q, which is no address of an agent", from.Host, to.Redacted())
	case to.Scheme == "https" && (from.Scheme == "https" || to.Hostname() == from.Hostname()),
		to.Scheme == from.Scheme && (to.Hostname() == from.Hostname() || loopback(from) && loopback(to)):
		return nil
	}
	return fmt.Errorf("the agent at %s sends on to %.200s, which is not followed: write that address into the configuration if it is right", from.Host, to.Redacted())
}

func loopback(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// endpointOf checks the address that a card names.
func endpointOf(card, endpoint string) (string, error) {
	from, err := url.Parse(card)
	if err != nil {
		return "", fmt.Errorf("the A2A agent's address: %w", err)
	}
	to, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("the agent's card at %s names %.200q, which is no address", card, endpoint)
	}
	return endpoint, follows(from, to)
}

// direct is the client of agents that were given none. It has no time limit, since
// agents take long.
var direct = &http.Client{CheckRedirect: func(r *http.Request, before []*http.Request) error {
	if len(before) >= 5 {
		return fmt.Errorf("%d redirects", len(before))
	}
	return follows(before[len(before)-1].URL, r.URL)
}}
