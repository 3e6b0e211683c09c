package native

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"lobstah/mesh/tool"
)

// Limits of a page.
const (
	webTimeout   = 30 * time.Second
	maxPage      = 4 << 20 // bytes that are read, after decompression
	maxRedirects = 5
	defaultChars = 50_000
	maxURL       = 4096
)

// web fetches pages. It uses no proxy of the environment, since a proxy would
// resolve names out of sight.
type web struct{ client *http.Client }

func newWeb(cfg tool.Web) *web {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: control(cfg.AllowPrivate)}
	return &web{&http.Client{
		Timeout: webTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(r *http.Request, before []*http.Request) error {
			if len(before) > maxRedirects {
				return tool.Errorf(tool.CodeFailed, "more than %d redirects", maxRedirects)
			}
			return checkURL(r.URL)
		},
	}}
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return tool.Errorf(tool.CodeArguments, "%.100q is no address of a page: want http or https", u.Redacted())
	case u.Hostname() == "":
		return tool.Errorf(tool.CodeArguments, "the address names no host")
	case u.User != nil:
		return tool.Errorf(tool.CodeArguments, "an address with a password is not fetched")
	}
	return nil
}

type webArgs struct {
	URL         string `json:"url"`
	ExtractMode string `json:"extractMode,omitempty"`
	MaxChars    int    `json:"maxChars,omitempty"`
}

func (a *webArgs) check() (*url.URL, error) {
	if a.ExtractMode != "" && a.ExtractMode != "markdown" && a.ExtractMode != "text" {
		return nil, tool.Errorf(tool.CodeArguments, "extractMode is markdown or text, not %.40q", a.ExtractMode)
	}
	if a.MaxChars < 0 {
		return nil, tool.Errorf(tool.CodeArguments, "maxChars is %d", a.MaxChars)
	}
	if a.MaxChars == 0 {
		a.MaxChars = defaultChars
	}
	u, err := url.Parse(a.URL)
	if err != nil || len(a.URL) > maxURL {
		return nil, tool.Errorf(tool.CodeArguments, "%.100q is no address of a page", a.URL)
	}
	return u, checkURL(u)
}

func (t *Tools) webFetch(ctx context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args webArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	u, err := args.check()
	if err != nil {
		return nil, err
	}
	return t.web.fetch(ctx, u, args)
}

func (w *web) fetch(ctx context.Context, u *url.URL, args webArgs) (*tool.Result, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, tool.Errorf(tool.CodeArguments, "%s", err)
	}
	r.Header.Set("User-Agent", "clawmatrix")
	r.Header.Set("Accept", "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.1")
	response, err := w.client.Do(r)
	if err != nil {
		return nil, fetchError(u, err)
	}
	defer response.Body.Close()
	in := bufio.NewReader(response.Body)
	kind, params := typeOf(response.Header, in)
	if !textual(kind) {
		return nil, tool.Errorf(tool.CodeFailed, "%s answered %s with %s, which is no text", u.Host, response.Status, kind)
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" && charset != "iso-8859-1" {
		return nil, tool.Errorf(tool.CodeFailed, "%s answered in the encoding %q, which is not read here", u.Host, charset)
	}
	body, err := io.ReadAll(io.LimitReader(in, maxPage+1))
	if err != nil {
		return nil, fetchError(u, err)
	}
	whole := len(body) <= maxPage
	text := decodeText(body[:min(len(body), maxPage)], params["charset"])
	title := ""
	if kind == "text/html" || kind == "application/xhtml+xml" {
		title, text = extract(text, response.Request.URL, args.ExtractMode != "text")
	}
	return w.result(response, kind, title, text, whole, args.MaxChars)
}

// typeOf is what an answer says that it is, or looks like when it says nothing.
func typeOf(h http.Header, in *bufio.Reader) (kind string, params map[string]string) {
	said := h.Get("Content-Type")
	if said == "" {
		start, _ := in.Peek(512) // a fault comes again with the body
		said = http.DetectContentType(start)
	}
	kind, params, err := mime.ParseMediaType(said)
	if err != nil {
		return "application/octet-stream", nil
	}
	return kind, params
}

func fetchError(u *url.URL, err error) error {
	if e, ok := errors.AsType[*tool.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return tool.Errorf(tool.CodeFailed, "fetch from %s: %s", u.Host, err)
}

func textual(kind string) bool {
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") ||
		kind == "application/json" || kind == "application/xml" || kind == "application/javascript" || kind == "application/x-ndjson"
}

func decodeText(data []byte, charset string) string {
	if strings.EqualFold(charset, "iso-8859-1") && !utf8.Valid(data) {
		runes := make([]rune, len(data))
		for i, b := range data {
			runes[i] = rune(b)
		}
		return string(runes)
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

func (w *web) result(response *http.Response, kind, title, text string, whole bool, most int) (*tool.Result, error) {
	truncated := !whole
	if n := utf8.RuneCountInString(text); n > most {
		text = string([]rune(text)[:most]) + fmt.Sprintf("\n[... %d characters left out]", n-most)
		truncated = true
	}
	r, err := tool.Text(text, map[string]any{
		"url": response.Request.URL.String(), "status": response.StatusCode, "contentType": kind, "title": title, "truncated": truncated,
	})
	if err == nil {
		r.IsError = response.StatusCode >= 400
	}
	return r, err
}
