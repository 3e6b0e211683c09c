package announce

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
)

type vectors struct {
	Announcements []struct {
		Name, Canonical, Signature, JSON string
		Verifies                         bool
	}
	Undefined struct {
		JSON string `json:"json_sent"`
	}
	Status []struct {
		Name   string
		Age    int64           `json:"now_minus_announcedAt_ms"`
		TTL    json.RawMessage `json:"ttlSeconds"`
		Status Status
	}
	Unannounce struct {
		Message string
		Body    json.RawMessage
	}
}

func load(t testing.TB) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func pair() key.Pair {
	var seed [32]byte
	for i := range seed {
		seed[i] = 0x11
	}
	return key.FromSeed(seed)
}

// then is when the vectors were announced.
var then = time.UnixMilli(1790000000000).UTC()

// sample is an offer with all of our members.
func sample() Offer {
	return Offer{
		ID: pair().ID(), URL: "http://192.0.2.1:17474", Label: "mac-ü 🦞", Models: []string{"llama3.1:8b", "qwen2.5:7b"},
		Tier: grid.Batch, TTL: 5 * time.Minute, AnnouncedAt: then,
		ModelFacts: []grid.Model{{
			ID: "llama3.1:8b", Digest: "sha256:" + strings.Repeat("ab", 32), ContextLength: 8192, MaxContext: 131072,
			Capabilities: []string{"completion", "tools"}, Family: "llama", Parameters: "8.0B", Quantization: "Q4_K_M",
		}},
		Price: &Price{Input: 0.5, Output: 1.25, Unit: "EUR"}, Concurrency: 4, Running: 3, QueueDepth: 1,
		Through: []string{"mesh://" + pair().ID().String()},
	}
}

func sign(t testing.TB, o Offer) *Signed {
	t.Helper()
	s, err := Sign(pair(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOriginalsAnnouncements(t *testing.T) {
	for _, v := range load(t).Announcements {
		t.Run(v.Name, func(t *testing.T) {
			s, err := Open([]byte(v.JSON), then)
			if err != nil || !v.Verifies {
				t.Fatalf("Open: %v; the original says %v", err, v.Verifies)
			}
			if s.statement() != v.Canonical {
				t.Errorf("statement\n got %s\nwant %s", s.statement(), v.Canonical)
			}
			want := `{"announcement":` + v.Canonical + `,"signature":"` + v.Signature + `"}`
			if string(s.Envelope()) != want {
				t.Errorf("envelope\n got %s\nwant %s", s.Envelope(), want)
			}
			if again := sign(t, s.Offer); string(again.Envelope()) != want {
				t.Errorf("signed again\n got %s\nwant %s", again.Envelope(), want)
			}
		})
	}
}

// The original signs the word undefined for a member without a value, which
// no receiver can verify.
func TestUndefinedMember(t *testing.T) {
	if _, err := Open([]byte(load(t).Undefined.JSON), then); !errors.Is(err, ErrSignature) {
		t.Errorf("Open: %v; want ErrSignature, as in the original", err)
	}
}

// stricter names the judgements of the original from which we differ on
// purpose, and why.
var stricter = map[string]error{
	"ttl 10 years": ErrStale,     // no offer lives longer than MaxTTL
	"negative ttl": ErrMalformed, // the original calls it stale
	"ttl missing":  ErrMalformed,
	"ttl text":     ErrMalformed,
}

func TestOriginalsStatus(t *testing.T) {
	reasons := map[Status]error{OK: nil, Stale: ErrStale, Future: ErrFuture}
	for _, v := range load(t).Status {
		t.Run(v.Name, func(t *testing.T) {
			members := `"ttlSeconds":300,`
			if v.TTL != nil {
				members = `"ttlSeconds":` + string(v.TTL) + `,`
			}
			if string(v.TTL) == "null" {
				members = "" // the vector's word for a missing member
			}
			envelope := signText(t, `{"announcedAt":1790000000000,"pubkey":"`+pair().ID().String()+`",`+members+`"url":"http://192.0.2.1:17474","version":1}`)
			want, differs := stricter[v.Name]
			if !differs {
				want = reasons[v.Status]
			}
			if _, err := Open(envelope, then.Add(time.Duration(v.Age)*time.Millisecond)); !errors.Is(err, want) {
				t.Errorf("Open: %v; want %v", err, want)
			}
		})
	}
}

// signText signs any canonical text, as a worker that checks nothing would.
func signText(t testing.TB, statement string) []byte {
	t.Helper()
	return []byte(seal(statement, [64]byte(pair().Sign([]byte(statement)))))
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	read, err := Open(sign(t, want).Envelope(), then)
	if err != nil || !reflect.DeepEqual(read.Offer, want) {
		t.Fatalf("read %+v, %v\nwant %+v", read, err, want)
	}
	peer := read.Peer(grid.FromTracker)
	if peer != (grid.Peer{ID: want.ID, URL: want.URL, Label: want.Label, Origin: grid.FromTracker}) {
		t.Errorf("peer %+v", peer)
	}
}

func TestUnknownMembersAreSigned(t *testing.T) {
	envelope := signText(t, `{"announcedAt":1790000000000,"pubkey":"`+pair().ID().String()+`","ttlSeconds":300,"url":"http://h","version":1,"zz":{"a":[1,null]}}`)
	s, err := Open(envelope, then)
	if err != nil || string(s.Envelope()) != string(envelope) {
		t.Fatalf("Open: %v", err)
	}
	if _, err := Open([]byte(strings.Replace(string(envelope), "null", "true", 1)), then); !errors.Is(err, ErrSignature) {
		t.Errorf("an unknown member was changed: %v; want ErrSignature", err)
	}
}

func TestLifetime(t *testing.T) {
	for _, test := range []struct{ ttl, want time.Duration }{
		{0, MinTTL}, {30 * time.Second, MinTTL}, {5 * time.Minute, 5 * time.Minute}, {time.Hour, time.Hour}, {24 * time.Hour, MaxTTL},
	} {
		o := Offer{TTL: test.ttl, AnnouncedAt: then}
		if o.Lifetime() != test.want || !o.Expires().Equal(then.Add(test.want)) {
			t.Errorf("a TTL of %s gives %s until %s; want %s", test.ttl, o.Lifetime(), o.Expires(), test.want)
		}
	}
}

// Every single change of the text of an envelope must be noticed.
func TestTampering(t *testing.T) {
	made := sign(t, sample())
	good := made.Envelope()
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 1
		if s, err := Open(bad, then); err == nil && s.statement() == made.statement() {
			continue // the case of a hex digit in the signature
		} else if err == nil {
			t.Fatalf("byte %d changed from %q to %q and still genuine", i, good[i], bad[i])
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for name, change := range map[string]func(*Offer){
		"another's key":            func(o *Offer) { o.ID = key.Generate().ID() },
		"no URL":                   func(o *Offer) { o.URL = "" },
		"a URL of files":           func(o *Offer) { o.URL = "file:///etc/passwd" },
		"a script as URL":          func(o *Offer) { o.URL = "javascript:alert(1)" },
		"a password in the URL":    func(o *Offer) { o.URL = "http://u:p@h" },
		"a long URL":               func(o *Offer) { o.URL = "http://" + strings.Repeat("h", maxURL) },
		"a long label":             func(o *Offer) { o.Label = strings.Repeat("l", maxLabel+1) },
		"a line in the label":      func(o *Offer) { o.Label = "a\nb" },
		"a reversed label":         func(o *Offer) { o.Label = "a\u202eb" },
		"a label that is no text":  func(o *Offer) { o.Label = "a\xff" },
		"an empty model":           func(o *Offer) { o.Models = append(o.Models, "") },
		"a long model":             func(o *Offer) { o.Models[0] = strings.Repeat("m", maxModelName+1) },
		"too many models":          func(o *Offer) { o.Models = slicesRepeat("m", MaxModels+1) },
		"an unknown tier":          func(o *Offer) { o.Tier = "gold" },
		"facts of no model":        func(o *Offer) { o.ModelFacts[0].ID = "other" },
		"a negative context":       func(o *Offer) { o.ModelFacts[0].ContextLength = -1 },
		"two words in one":         func(o *Offer) { o.ModelFacts[0].Capabilities = []string{"a,b"} },
		"a negative price":         func(o *Offer) { o.Price.Input = -1 },
		"a price of nothing":       func(o *Offer) { o.Price.Unit = strings.Repeat("x", 17) },
		"negative concurrency":     func(o *Offer) { o.Concurrency = -1 },
		"a way that is none":       func(o *Offer) { o.Through = []string{"somehow"} },
		"too many ways":            func(o *Offer) { o.Through = slicesRepeat("mesh://h", maxThrough+1) },
		"a negative TTL":           func(o *Offer) { o.TTL = -time.Second },
		"a time before all times":  func(o *Offer) { o.AnnouncedAt = time.UnixMilli(-1) },
		"more than an envelope":    func(o *Offer) { o.Models, o.ModelFacts = slicesRepeat(strings.Repeat("m", 200), 100), nil },
		"a model that is no text":  func(o *Offer) { o.Models[0] = "\xed\xa0\x80" },
		"an escape in a parameter": func(o *Offer) { o.ModelFacts[0].Parameters = "\x1b[31m" },
	} {
		o := sample()
		change(&o)
		if _, err := Sign(pair(), o); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func slicesRepeat(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func TestOpenRefuses(t *testing.T) {
	id := pair().ID().String()
	for _, test := range []struct {
		name, envelope string
		want           error
	}{
		{"no JSON", `{nope`, ErrJSON},
		{"null", `null`, ErrSignature},
		{"nothing", `{}`, ErrSignature},
		{"no key", `{"announcement":{"pubkey":"x"},"signature":"` + strings.Repeat("0", 128) + `"}`, ErrSignature},
		{"a member twice", `{"announcement":{"pubkey":"` + id + `","pubkey":"` + id + `"},"signature":"00"}`, ErrJSON},
		{"too large", `{"announcement":{"pubkey":"` + strings.Repeat(" ", MaxBytes) + `"}}`, ErrJSON},
		{"version 2", string(signText(t, `{"announcedAt":1790000000000,"pubkey":"`+id+`","ttlSeconds":300,"url":"http://h","version":2}`)), ErrMalformed},
		{"only a key", string(signText(t, `{"pubkey":"`+id+`"}`)), ErrMalformed},
	} {
		if _, err := Open([]byte(test.envelope), then); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
	}
}

func TestOriginalsUnannounce(t *testing.T) {
	v := load(t).Unannounce
	w, err := OpenWithdrawal(v.Body, then)
	if err != nil {
		t.Fatal(err)
	}
	if string(w.statement()) != v.Message {
		t.Errorf("statement %q; want %q", w.statement(), v.Message)
	}
	made := Withdraw(pair(), then)
	if made != w {
		t.Errorf("made %+v; want %+v", made, w)
	}
	again, err := OpenWithdrawal(made.JSON(), then)
	if err != nil || again != w {
		t.Errorf("%s reads as %+v, %v", made.JSON(), again, err)
	}
}

func TestWithdrawalWindow(t *testing.T) {
	body := Withdraw(pair(), then).JSON()
	for _, test := range []struct {
		offset time.Duration
		want   error
	}{
		{Window, nil}, {-Window, nil},
		{Window + time.Millisecond, ErrStale}, {-Window - time.Millisecond, ErrStale},
	} {
		if _, err := OpenWithdrawal(body, then.Add(test.offset)); !errors.Is(err, test.want) {
			t.Errorf("%s later: %v; want %v", test.offset, err, test.want)
		}
	}
}

func TestWithdrawalRefuses(t *testing.T) {
	good := string(Withdraw(pair(), then).JSON())
	for _, test := range []struct {
		name, body string
		want       error
	}{
		{"no JSON", `{nope`, ErrJSON},
		{"null", `null`, ErrSignature},
		{"nothing", `{}`, ErrStale},
		{"a time in words", strings.Replace(good, "1790000000000", `"now"`, 1), ErrStale},
		{"another time", strings.Replace(good, "1790000000000", "1790000000001", 1), ErrSignature},
		{"half a millisecond", strings.Replace(good, "1790000000000", "1790000000000.5", 1), ErrStale},
		{"another key", strings.Replace(good, pair().ID().String(), key.Generate().ID().String(), 1), ErrSignature},
		{"a short signature", `{"pubkey":"` + pair().ID().String() + `","timestamp":1790000000000,"signature":"00"}`, ErrSignature},
	} {
		if _, err := OpenWithdrawal([]byte(test.body), then); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
	}
}

// sameOpened checks that envelope is another form of what want was opened from.
func sameOpened(envelope []byte, want *Signed) error {
	if len(envelope) > MaxBytes {
		return nil
	}
	got, err := Open(envelope, then)
	if err == nil && !reflect.DeepEqual(got, want) {
		err = fmt.Errorf("opens as %+v; want %+v", got, want)
	}
	return err
}

// spaced is text with white space, which takes the long way to its canonical
// form.
func spaced(text []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, text, " ", "\t"); err != nil {
		panic(err) // it was opened before
	}
	return out.Bytes()
}

func TestOtherFormsOpenAlike(t *testing.T) {
	s := sign(t, sample())
	for name, envelope := range map[string][]byte{
		"canonical":   s.Envelope(),
		"spaced":      spaced(s.Envelope()),
		"an escape":   bytes.Replace(s.Envelope(), []byte(`"EUR"`), []byte(`"\u0045UR"`), 1),
		"an exponent": bytes.Replace(s.Envelope(), []byte(`"concurrency":4`), []byte(`"concurrency":4e0`), 1),
		"one more":    append(bytes.TrimSuffix(s.Envelope(), []byte("}")), `,"zz":[1]}`...),
	} {
		if err := sameOpened(envelope, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What grows beyond the limit would be kept and then never be read again.
func TestGrownEnvelopeIsRefused(t *testing.T) {
	grown := `{"announcedAt":1790000000000,"pubkey":"` + pair().ID().String() + `","ttlSeconds":300,"url":"http://h","version":1,"zz":[` + strings.Repeat("100000000000000000000,", 1000) + `1]}`
	envelope := bytes.ReplaceAll(signText(t, grown), []byte("100000000000000000000"), []byte("1e20"))
	if len(envelope) > MaxBytes {
		t.Fatalf("the envelope is already %d bytes", len(envelope))
	}
	if _, err := Open(envelope, then); !errors.Is(err, ErrJSON) {
		t.Errorf("Open: %v; want ErrJSON", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, v := range load(f).Announcements {
		f.Add([]byte(v.JSON))
	}
	f.Add(sign(f, sample()).Envelope())
	f.Fuzz(func(t *testing.T, envelope []byte) {
		s, err := Open(envelope, then)
		if err != nil {
			return
		}
		if err := sameOpened(s.Envelope(), s); err != nil {
			t.Fatalf("%q opens, its canonical form %q: %v", envelope, s.Envelope(), err)
		}
		if err := sameOpened(spaced(s.Envelope()), s); err != nil {
			t.Fatalf("%q opens, with white space: %v", s.Envelope(), err)
		}
	})
}

// FuzzFields signs what comes, so that the reader of fields sees everything.
func FuzzFields(f *testing.F) {
	for _, v := range load(f).Announcements {
		f.Add([]byte(v.Canonical))
	}
	f.Add([]byte(sign(f, sample()).statement()))
	f.Fuzz(func(t *testing.T, statement []byte) {
		envelope := []byte(`{"announcement":` + string(statement) + `,"signature":"` + strings.Repeat("00", 64) + `"}`)
		if _, err := Open(envelope, then); err == nil {
			t.Fatalf("%q opens without a signature", envelope)
		}
		s, err := Open(signText(t, string(statement)), then)
		if err != nil {
			return
		}
		again, err := Sign(pair(), s.Offer)
		if err != nil {
			t.Fatalf("%s opens, and cannot be made: %v", statement, err)
		}
		if read, err := Open(again.Envelope(), then); err != nil || !reflect.DeepEqual(read.Offer, s.Offer) {
			t.Fatalf("%s\n reads as %+v,\n made again as %+v: %v", statement, s.Offer, read, err)
		}
	})
}

func FuzzOpenWithdrawal(f *testing.F) {
	f.Add([]byte(Withdraw(pair(), then).JSON()))
	f.Add([]byte(`{"pubkey":"lob1","timestamp":1790000000000,"signature":"00"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := OpenWithdrawal(body, then)
		if err != nil {
			return
		}
		if again, err := OpenWithdrawal(w.JSON(), then); err != nil || again != w {
			t.Fatalf("%q reads as %+v, written again as %+v: %v", body, w, again, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	envelope := sign(b, sample()).Envelope()
	b.ReportMetric(float64(len(envelope)), "bytes")
	for b.Loop() {
		if _, err := Open(envelope, then); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSignature is the part of BenchmarkOpen that no program can save.
func BenchmarkSignature(b *testing.B) {
	s := sign(b, sample())
	statement := []byte(s.statement())
	signature := pair().Sign(statement)
	for b.Loop() {
		if !s.ID.Verify(statement, signature) {
			b.Fatal("bad signature")
		}
	}
}

func TestAddressesInDisguise(t *testing.T) {
	t.Parallel()
	pair := key.FromSeed([32]byte{7})
	now := time.UnixMilli(1790000000000)
	for host, want := range map[string]bool{
		"127.1": true, "0x7f.1": true, "2130706433": true, "0x7f000001": true, "127.0.0.01": true, "0177.0.0.1": true,
		"127.0.0.1.": false, "256.1.1.1": true, "1.2.3.09": true, "99999999999999999999": true, "a.0XFF": true,
		"192.0.2.7": false, "[2001:db8::1]": false, "worker.example": false, "worker.example.": false, "1.example": false,
		"host-1": false, "a.1st": false, "xn--1": false,
	} {
		if got := Disguised(strings.Trim(host, "[]")); got != want {
			t.Errorf("%s is in disguise: %v, want %v", host, got, want)
		}
		s, err := Sign(pair, Offer{ID: pair.ID(), URL: "http://" + host + ":17474", TTL: time.Minute, AnnouncedAt: now})
		if err != nil {
			if !want {
				t.Errorf("%s: %v", host, err)
			}
			continue
		}
		if _, err := Open(s.Envelope(), now); (err != nil) != want {
			t.Errorf("an offer at %s: %v, want an error: %v", host, err, want)
		}
	}
}
