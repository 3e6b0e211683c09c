package openaiapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// parseBase reads an engine's address as people write it: with or without
// scheme, /v1 and a slash at the end.
func parseBase(text string) (*url.URL, error) {
	full := strings.TrimSpace(text)
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return nil, errors.New("engine address: it is no URL; want one like http://127.0.0.1:8080") // err would quote what may hold a key
	case u.User != nil:
		return nil, errors.New("engine address: put no key or password into the URL; use --engine-key or LOBSTAH_ENGINE_KEY")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("engine address %q: want one like http://127.0.0.1:8080", text)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("engine address: want no ? and no # in it")
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/v1"), "/")
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}
