package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"lobstah/grid"
	"lobstah/internal/livefile"
)

// DefaultPort is where workers listen.
const DefaultPort = "17474"

func parsePeers(data []byte) ([]grid.Peer, error) {
	entries, err := parse(data)
	if err != nil {
		return nil, err
	}
	list := make([]grid.Peer, len(entries))
	for i, e := range entries {
		list[i] = e.peer
	}
	return list, nil
}

// parse reads the array entry by entry, so that every fault has its line. Of
// several entries with one key the last counts, in its place.
func parse(data []byte) ([]entry, error) {
	if data == nil {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil {
		return nil, livefile.JSON(data, err)
	}
	if start != json.Delim('[') {
		return nil, livefile.At(data, 0, errors.New("want an array of peers"))
	}
	var list []entry
	at := map[string]int{}
	for dec.More() {
		begin := entryStart(data, dec.InputOffset())
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, livefile.JSON(data, err)
		}
		e, err := parseEntry(raw)
		if err != nil {
			return nil, livefile.At(data, begin+faultOffset(err), err)
		}
		if i, again := at[e.peer.ID.String()]; again {
			list[i].raw = nil
		}
		at[e.peer.ID.String()] = len(list)
		list = append(list, e)
		if len(list) > MaxPeers {
			return nil, livefile.At(data, begin, fmt.Errorf("more than %d peers", MaxPeers))
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, livefile.JSON(data, err)
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return nil, livefile.At(data, dec.InputOffset(), errors.New("text after the array"))
	}
	return current(list), nil
}

// current drops the entries that a later one replaced.
func current(list []entry) []entry {
	kept := list[:0]
	for _, e := range list {
		if e.raw != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

// entryStart skips what stands between two values.
func entryStart(data []byte, offset int64) int64 {
	for offset < int64(len(data)) && bytes.IndexByte([]byte(" \t\r\n,"), data[offset]) >= 0 {
		offset++
	}
	return offset
}

func faultOffset(err error) int64 {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e.Offset
	}
	return 0
}

func parseEntry(raw json.RawMessage) (entry, error) {
	var file struct {
		Pubkey   *string `json:"pubkey"`
		URL      *string `json:"url"`
		Label    string  `json:"label"`
		Insecure bool    `json:"insecure"`
	}
	e := entry{raw: raw}
	if raw[0] != '{' {
		return e, errors.New("a peer is an object with pubkey and url")
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return e, err
	}
	if file.Pubkey == nil || file.URL == nil {
		return e, errors.New("a peer needs the members pubkey and url")
	}
	if err := e.peer.ID.UnmarshalText([]byte(*file.Pubkey)); err != nil || e.peer.ID.IsZero() {
		return e, fmt.Errorf("pubkey: %q is not a public key", clip(*file.Pubkey))
	}
	var err error
	if e.peer.URL, err = ParseURL(*file.URL); err != nil {
		return e, fmt.Errorf("url: %w", err)
	}
	if e.peer.Label, err = ParseLabel(file.Label); err != nil {
		return e, err
	}
	e.peer.Insecure, e.peer.Origin = file.Insecure, grid.FromUser
	return e, nil
}

// MaxLabel caps a label's bytes.
const MaxLabel = 128

// ParseLabel checks the name that the user gives a peer.
func ParseLabel(text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > MaxLabel || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return "", fmt.Errorf("label %q: want at most %d bytes on one line", clip(text), MaxLabel)
	}
	return text, nil
}

// ParseURL reads where a worker is: host, host:port (both mean TLS, and port
// 17474), an http or https URL, or mesh:// and a node's key or name. It returns
// the URL without a slash at the end.
func ParseURL(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > 2048 {
		return "", errors.New("want HOST:PORT or an http(s) URL")
	}
	if !strings.Contains(text, "://") {
		return parseHostPort(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is not a URL", clip(text))
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.Scheme == "mesh" && (u.Port() != "" || strings.Trim(u.Path, "/") != ""):
		return "", fmt.Errorf("%q: a node of the mesh is mesh://KEY or mesh://NAME", clip(text))
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "mesh":
		return "", fmt.Errorf("%q: want http, https or mesh, not %s", clip(text), clip(u.Scheme))
	case u.Hostname() == "":
		return "", fmt.Errorf("%q has no host", clip(text))
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("%q: a peer's URL has no user name, query or fragment", clip(text))
	case u.Port() != "" && !validPort(u.Port()):
		return "", fmt.Errorf("%q: the port is not 1 to 65535", clip(text))
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func parseHostPort(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), DefaultPort
	}
	_, notIP := netip.ParseAddr(host)
	if host == "" || !validPort(port) || notIP != nil && strings.ContainsAny(host, ":/?#@[] \\%") {
		return "", fmt.Errorf("%q: want HOST:PORT or an http(s) URL", clip(text))
	}
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)}
	return u.String(), nil
}

func validPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// clip shortens foreign text that an error quotes.
func clip(text string) string {
	if len(text) > 80 {
		return strings.ToValidUTF8(text[:80], "") + "…"
	}
	return text
}
