package invitation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/key"
)

var (
	inviter = key.FromSeed([32]byte{0x11})
	joiner  = key.FromSeed([32]byte{0x22})
	secret  = Secret{0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33}
	expires = time.Unix(1_800_000_000, 0).UTC()
)

func sample() Invitation {
	return Invitation{
		For: Lobstah, Inviter: inviter.ID(), Secret: secret, Expires: expires, Guest: true,
		Addresses: []string{"192.168.1.5:17474", "[2001:db8::7]:443", "box.example:80"},
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	text := sample().String()
	for _, pasted := range []string{
		text, strings.ToUpper(text), " " + text + "\n", "lobstah join " + text, "lobstah join\n" + text[:40] + "\r\n  " + text[40:],
	} {
		got, err := Parse(Lobstah, pasted)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(sample()) || got.Secret != secret || !got.Expires.Equal(expires) || !slices.Equal(got.Addresses, sample().Addresses) {
			t.Errorf("%q: got %+v, %v; want %+v", pasted, got, err, sample())
		}
	}
}

// The vector of docs/protocol.md.
func TestVector(t *testing.T) {
	t.Parallel()
	v := Invitation{Inviter: key.FromSeed([32]byte(slices.Repeat([]byte{0x11}, 32))).ID(), Secret: secret, Expires: expires, Addresses: []string{"192.168.1.5:17474"}}
	if got := v.String(); got != vectorText {
		t.Errorf("text: got %s; want %s", got, vectorText)
	}
	if got := secret.ID(); got != vectorID {
		t.Errorf("id: got %s; want %s", got, vectorID)
	}
	other := key.FromSeed([32]byte(slices.Repeat([]byte{0x22}, 32))).ID()
	if got := Words(v.Inviter, other, secret); got != vectorWords {
		t.Errorf("words: got %s; want %s", got, vectorWords)
	}
}

// Whatever single character is changed, left out or doubled, it is told.
func TestTypos(t *testing.T) {
	t.Parallel()
	text := sample().String()
	for i := range text {
		for _, c := range "az27" {
			changed := text[:i] + string(c) + text[i+1:]
			if _, err := Parse(Lobstah, changed); changed != text && err == nil {
				t.Errorf("character %d changed to %q went unnoticed", i, c)
			}
		}
		if _, err := Parse(Lobstah, text[:i]+text[i+1:]); err == nil {
			t.Errorf("character %d left out went unnoticed", i)
		}
		if _, err := Parse(Lobstah, text[:i+1]+text[i:]); err == nil {
			t.Errorf("character %d doubled went unnoticed", i)
		}
	}
	if _, err := Parse(Lobstah, text[:len(text)-9]); !errors.Is(err, ErrAltered) {
		t.Errorf("cut off: %v; want ErrAltered", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Invitation){
		"no key":          func(v *Invitation) { v.Inviter = key.ID{} },
		"no address":      func(v *Invitation) { v.Addresses = nil },
		"nine addresses":  func(v *Invitation) { v.Addresses = slices.Repeat([]string{"a:1"}, 9) },
		"no port":         func(v *Invitation) { v.Addresses = []string{"host"} },
		"port 0":          func(v *Invitation) { v.Addresses = []string{"host:0"} },
		"port with zeros": func(v *Invitation) { v.Addresses = []string{"host:080"} },
		"no host":         func(v *Invitation) { v.Addresses = []string{":80"} },
		"a URL":           func(v *Invitation) { v.Addresses = []string{"host/path:80"} },
		"anywhere":        func(v *Invitation) { v.Addresses = []string{"0.0.0.0:80"} },
		"a zone":          func(v *Invitation) { v.Addresses = []string{"[fe80::1%eth0]:80"} },
		"long name":       func(v *Invitation) { v.Addresses = []string{strings.Repeat("a", 254) + ":80"} },
		"the year 2200":   func(v *Invitation) { v.Expires = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		v := sample()
		change(&v)
		if err := v.Check(); err == nil {
			t.Errorf("%s: accepted %+v", name, v)
		}
	}
	if err := sample().Check(); err != nil {
		t.Error(err)
	}
}

func TestSecretsStayOutOfText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{fmt.Sprint(secret), fmt.Sprintf("%+v", secret), fmt.Sprintf("%#v", secret)} {
		if strings.Contains(text, "33") || strings.Contains(text, "51 51") {
			t.Errorf("%s shows the secret", text)
		}
	}
	if first, second := NewSecret(), NewSecret(); first == second {
		t.Error("two secrets are the same")
	}
}

func TestWordsDependOnEverything(t *testing.T) {
	t.Parallel()
	words := Words(inviter.ID(), joiner.ID(), secret)
	for name, other := range map[string]string{
		"inviter": Words(joiner.ID(), joiner.ID(), secret), "joiner": Words(inviter.ID(), inviter.ID(), secret),
		"secret": Words(inviter.ID(), joiner.ID(), Secret{}), "order": Words(joiner.ID(), inviter.ID(), secret),
	} {
		if other == words {
			t.Errorf("another %s gives the same words", name)
		}
	}
	if n := len(strings.Fields(words)); n != 6 {
		t.Errorf("%d words; want 6", n)
	}
}

// What is accepted is written again as it was, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(sample().String())
	f.Add(strings.ToUpper(vectorText))
	f.Add("lobstah join lobstah1")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(Lobstah, text)
		if err != nil {
			return
		}
		if err := v.Check(); err != nil {
			t.Errorf("%q: accepted %+v: %v", text, v, err)
		}
		again, err := Parse(Lobstah, v.String())
		if err != nil || again.String() != v.String() {
			t.Errorf("%q became %q, %v", text, v.String(), err)
		}
	})
}

// The payload behind the checksum is hostile as well.
func FuzzDecode(f *testing.F) {
	f.Add(sample().payload())
	f.Fuzz(func(t *testing.T, payload []byte) {
		text := Lobstah.prefix() + strings.ToLower(encoding.EncodeToString(append(slices.Clone(payload), Lobstah.checksum(payload)...)))
		v, err := Parse(Lobstah, text)
		if err == nil && v.String() != text {
			t.Errorf("%x: two texts of one invitation", payload)
		}
	})
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	v := sample()
	v.For = Clawmatrix
	got, err := Parse(Clawmatrix, "clawmatrix join "+v.String())
	if err != nil || got.String() != v.String() || got.For != Clawmatrix {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Parse(Lobstah, v.String()); err == nil || !strings.Contains(err.Error(), "clawmatrix join") {
		t.Errorf("an invitation of the other program: %v", err)
	}
	if _, err := Parse(Clawmatrix, "clawmatrix1"+strings.TrimPrefix(sample().String(), "lobstah1")); !errors.Is(err, ErrAltered) {
		t.Errorf("an invitation whose program was changed: %v", err)
	}
}
