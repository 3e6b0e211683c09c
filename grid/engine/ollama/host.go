package ollama

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// HostURL reads the OLLAMA_HOST variable as Ollama does, and returns where to
// reach that Ollama from here. Every part may be missing: "", "host",
// "host:port", ":port", "http://host", "[::1]:port", a path behind them. A
// port that is none is the default, as Ollama has it. An address that means all
// interfaces becomes loopback.
func HostURL(variable string) string {
	text := strings.Trim(strings.TrimSpace(variable), `"'`)
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "http", text
	}
	address, path, _ := strings.Cut(rest, "/")
	host, port := splitAddress(address, defaultPort(scheme, found))
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(reachable(host), port)}
	if path = strings.Trim(path, "/"); path != "" {
		u.Path = "/" + path
	}
	return u.String()
}

func defaultPort(scheme string, named bool) string {
	switch {
	case named && scheme == "http":
		return "80"
	case scheme == "https":
		return "443"
	}
	return "11434"
}

func splitAddress(address, fallback string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return strings.Trim(address, "[]"), fallback
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return host, fallback
	}
	return host, port
}

func reachable(host string) string {
	switch host {
	case "", "0.0.0.0":
		return "127.0.0.1"
	case "::":
		return "::1"
	}
	return host
}
