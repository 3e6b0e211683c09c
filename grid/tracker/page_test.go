package tracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lobstah/grid/announce"
)

func TestPageForBrowsersOnly(t *testing.T) {
	tracker, _ := start(t, nil)
	page := do(t, tracker, "GET", "/", nil, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if page.status != 200 || page.header.Get("Content-Type") != "text/html; charset=utf-8" || page.header.Get("Vary") != "Accept" {
		t.Errorf("a browser gets %d %v", page.status, page.header)
	}
	if text := do(t, tracker, "GET", "/", nil, "Accept", "*/*"); text.body != "lobstah-tracker (live peers: 0)\n" || text.header.Get("Vary") != "Accept" {
		t.Errorf("a program gets %q", text.body)
	}
	for _, name := range regexp.MustCompile(`(?:src|href)="(/[a-z]+\.[a-z]+)"`).FindAllStringSubmatch(page.body, -1) {
		a := do(t, tracker, "GET", name[1], nil)
		if a.status != 200 || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name[1], a.status, a.header)
		}
		if again := do(t, tracker, "GET", name[1], nil, "If-None-Match", a.header.Get("ETag")); again.status != 304 {
			t.Errorf("%s again: %d", name[1], again.status)
		}
	}
}

// The policy allows no inline script, and the page needs none.
func TestPagePolicy(t *testing.T) {
	tracker, _ := start(t, nil)
	page := do(t, tracker, "GET", "/", nil, "Accept", "text/html")
	csp := page.header.Get("Content-Security-Policy")
	if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "script-src 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if inline := regexp.MustCompile(`(?i)<script>|\son[a-z]+=|style=|javascript:`).FindString(page.body); inline != "" {
		t.Errorf("the page has %q inline", inline)
	}
	script := string(parts["/tracker.js"].body)
	for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".href", "srcdoc", "setHTML"} {
		if strings.Contains(script, way) {
			t.Errorf("the script uses %s, through which a stranger's text could become markup", way)
		}
	}
}

// browser finds a Chromium, and skips without one, except in CI.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Chromium, which CI has to have")
	}
	t.Skip("no Chromium on this machine")
	return ""
}

// render loads a page in a browser, lets its script work, and returns what the
// page is then. A picture is kept where TRACKER_PICTURE says.
func render(t *testing.T, chromium, address string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // of a busy machine
	defer cancel()
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) }) // as far as its helpers, which may end later, do not write there
	run := func(flags ...string) string {
		flags = append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
			"--user-data-dir=" + profile, "--virtual-time-budget=5000", "--window-size=1000,1100",
		}, flags...)
		cmd := exec.CommandContext(ctx, chromium, append(flags, address)...)
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("the browser: %v\n%s", err, exit.Stderr)
		} else if err != nil {
			t.Fatalf("the browser: %v", err)
		}
		return string(out)
	}
	if picture := os.Getenv("TRACKER_PICTURE"); picture != "" {
		run("--screenshot=" + filepath.Join(picture, regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-")+".png"))
	}
	return run("--dump-dom")
}

// hostile are texts that would do something if they were markup.
var hostile = []string{
	`<img src=x onerror="document.title='owned'">`, `<script>document.title='owned'</script>`, `"><svg onload=document.title='owned'>`,
	`</li></ol><h1>owned</h1>`, `&lt;b&gt;`, `{{7*7}}`, `javascript:document.title='owned'`,
}

// Nothing that a peer says of itself becomes markup, in a real browser.
func TestHostileTextsInBrowser(t *testing.T) {
	chromium := browser(t)
	tracker, c := start(t, nil)
	for n, text := range hostile {
		o := offer(byte(n+1), c.now(), text, text+" 2")
		o.Label, o.TTL = text, time.Hour
		o.URL = "http://192.0.2.1/" + url.PathEscape(text)
		o.ModelFacts = facts(text, strings.NewReplacer(" ", "", ",", "").Replace(text)[:min(20, len(strings.ReplaceAll(text, " ", "")))])
		o.ModelFacts[0].Digest, o.ModelFacts[0].Family = text, text
		o.ModelFacts[0].Parameters, o.ModelFacts[0].Quantization = text[:min(len(text), 32)], text[:min(len(text), 32)]
		o.Price = &announce.Price{Input: 1, Output: 2, Unit: "<b>x</b>"}
		o.Through = []string{"mesh://h/" + url.PathEscape(text)}
		mustAnnounce(t, tracker, byte(n+1), o)
	}
	server := httptest.NewServer(tracker)
	defer server.Close()
	dom := render(t, chromium, server.URL+"/")
	if !strings.Contains(dom, "<title>lobstah tracker</title>") || !strings.Contains(dom, `data-shown="`) {
		t.Fatalf("the page was not shown as it should be: %.2000s", dom)
	}
	body := dom[strings.Index(dom, "<body"):]
	for _, text := range hostile {
		if !strings.Contains(body, "<h3>"+html.EscapeString(text)+"</h3>") && !strings.Contains(body, "<h3>"+escapeText(text)+"</h3>") {
			t.Errorf("the label %s is not shown as text", text)
		}
	}
	if tag := regexp.MustCompile(`<(img src="x"|svg onload|h1>owned|b>x)`).FindString(body); tag != "" {
		t.Errorf("a peer's text became %s", tag)
	}
}

// escapeText writes text as browsers serialise it.
func escapeText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// The page searches, and shows offers, ages and plots.
func TestPageInBrowser(t *testing.T) {
	chromium := browser(t)
	tracker, c := start(t, nil)
	for half := range 20 { // ten hours with rising load
		for n := range byte(6) {
			o := offer(n+1, c.now(), "llama3.1:8b", fmt.Sprintf("qwen2.5:%db", n+1))
			o.Label = []string{"mac-studio", "büro 🦞", "gpu rig", "mac mini", "old laptop", "lab"}[n]
			o.Concurrency, o.Running, o.TTL = 8, min(8, half*int(n+1)/12), time.Hour
			o.ModelFacts = facts("llama3.1:8b", "completion", "tools")
			o.ModelFacts[0].Parameters, o.ModelFacts[0].Quantization, o.ModelFacts[0].ContextLength = "8.0B", "Q4_K_M", 131072
			if n == 2 {
				o.Price = &announce.Price{Input: 0.1, Output: 0.4, Unit: "EUR"}
				o.Through = []string{"mesh://" + pair(3).ID().String()}
			}
			if half >= int(n) { // they came one after another
				mustAnnounce(t, tracker, n+1, o)
			}
		}
		c.pass(30 * time.Minute)
	}
	server := httptest.NewServer(tracker)
	defer server.Close()
	t.Run("all", func(t *testing.T) {
		dom := render(t, chromium, server.URL+"/")
		for _, part := range []string{
			"6 peers here now", "<h3>büro 🦞</h3>", "announced 30 min ago", "0.1 in, 0.4 out EUR per million tokens", "128k context", "8.0B",
			"8 at a time", "100 % busy", `<button class="model" type="button">llama3.1:8b</button>`, "load over the last day", "peers over the last day, at most 6",
		} {
			if !strings.Contains(dom, part) {
				t.Errorf("the page does not say %q", part)
			}
		}
		if bars := strings.Count(dom, "<rect"); bars < 6*15 {
			t.Errorf("the plots have %d bars", bars)
		}
	})
	t.Run("searched", func(t *testing.T) {
		dom := render(t, chromium, server.URL+"/?q="+url.QueryEscape("@mac model:qwen"))
		if got := strings.Count(dom, `class="peer"`); got != 2 || !strings.Contains(dom, "mac-studio") || !strings.Contains(dom, "mac mini") {
			t.Errorf("%d peers are shown; want the two whose label has mac", got)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		dom := render(t, chromium, server.URL+"/?q=nosuchthing")
		if strings.Contains(dom, `class="peer"`) || !strings.Contains(dom, `<p id="no-peers">Nobody matches.</p>`) {
			t.Error("the page does not say that nobody matches")
		}
	})
}

// What the page asks for is JSON whatever peers say.
func TestSearchAnswersJSON(t *testing.T) {
	tracker, c := start(t, nil)
	for n, text := range hostile {
		o := offer(byte(n+1), c.now(), text)
		o.Label = text
		mustAnnounce(t, tracker, byte(n+1), o)
	}
	a := do(t, tracker, "GET", "/search", nil)
	var got searchAnswer
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Peers) != len(hostile) || strings.Contains(a.body, "<") {
		t.Errorf("%v: %s", err, a.body)
	}
}
