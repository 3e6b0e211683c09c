package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/key"
)

var (
	alice = key.FromSeed([32]byte{1})
	bob   = key.FromSeed([32]byte{2})
	now   = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
)

func TestPins(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pins.json")
	if pins, err := Read(path); pins != nil || err != nil {
		t.Fatalf("no file: %v, %v", pins, err)
	}
	add := func(name string, id key.ID) error { return Add(path, Pin{name, id, ByWords, now}) }
	if err := add("office", alice.ID()); err != nil {
		t.Fatal(err)
	}
	if err := add("office", bob.ID()); !errors.Is(err, ErrOtherKey) || !strings.Contains(err.Error(), alice.ID().String()) {
		t.Errorf("another key under the name: %v", err)
	}
	if err := add("desk", alice.ID()); err != nil { // the same key, renamed
		t.Fatal(err)
	}
	pins, err := Read(path)
	if err != nil || len(pins) != 1 || pins[0] != (Pin{"desk", alice.ID(), ByWords, now}) || Map(pins)["desk"] != alice.ID() {
		t.Errorf("got %v, %v; want desk alone", pins, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v; want that others cannot read it", info.Mode(), err)
	}
	if err := Remove(path, alice.ID()); err != nil {
		t.Fatal(err)
	}
	if pins, err := Read(path); len(pins) != 0 || err != nil {
		t.Errorf("after removing: %v, %v", pins, err)
	}
	for _, pin := range []Pin{{}, {Name: "a"}, {Key: alice.ID()}, {Name: strings.Repeat("a", 65), Key: alice.ID()}} {
		if err := Add(path, pin); err == nil {
			t.Errorf("took %+v", pin)
		}
	}
}

func TestDamagedFilesAreRefusedAndKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.json")
	for _, text := range []string{"{", "[]", `{"version":9}`, `{"version":1,"pins":[{"name":"a"}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Add(path, Pin{"a", alice.ID(), ByWords, now}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v; want an error that names the file", text, err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("%q was changed to %q", text, got)
		}
	}
	if _, err := ReadRotations(path); err != nil && !strings.Contains(err.Error(), path) {
		t.Errorf("rotations: %v", err)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	words := Words(alice.ID())
	if n := len(strings.Fields(words)); n != 6 {
		t.Fatalf("%q has %d words", words, n)
	}
	if words == Words(bob.ID()) || words != Words(alice.ID()) {
		t.Error("words do not follow the key")
	}
	if !SameWords(words, "  "+strings.ToUpper(strings.ReplaceAll(words, " ", "\n "))) || SameWords(words, Words(bob.ID())) || SameWords(words, "") {
		t.Error("comparing goes by more or less than the words")
	}
}

func rotate(t *testing.T, by key.Pair, at time.Time, old ...string) Rotation {
	t.Helper()
	r, err := Rotate(by, bob.ID(), old, at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRotationIsSigned(t *testing.T) {
	t.Parallel()
	good := rotate(t, alice, now, "old")
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Rotation){
		"secret":    func(r *Rotation) { r.Secret = "mine" },
		"signer":    func(r *Rotation) { r.By = bob.ID() },
		"time":      func(r *Rotation) { r.AtMS++ },
		"whom":      func(r *Rotation) { r.Without = alice.ID() },
		"replaces":  func(r *Rotation) { r.Replaces = nil },
		"signature": func(r *Rotation) { r.Signature = nil },
		"long":      func(r *Rotation) { r.Secret = strings.Repeat("s", maxSecretText+1) },
		"empty":     func(r *Rotation) { r.Secret = "" },
	} {
		changed := good
		change(&changed)
		if err := changed.Check(); err == nil {
			t.Errorf("another %s: accepted", name)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, good); strings.Contains(text, good.Secret) {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func TestSecretsInForce(t *testing.T) {
	t.Parallel()
	first := rotate(t, alice, now, "conf")
	second := rotate(t, alice, now.Add(time.Hour), "conf", first.Secret)
	for name, test := range map[string]struct {
		configured       []string
		rotations        []Rotation
		current, retired []string
	}{
		"no rotation":               {[]string{"conf", "older"}, nil, []string{"conf", "older"}, nil},
		"one":                       {[]string{"conf"}, []Rotation{first}, []string{first.Secret}, []string{"conf"}},
		"two":                       {[]string{"conf"}, []Rotation{second, first}, []string{second.Secret}, []string{first.Secret, "conf"}},
		"the configuration is new":  {[]string{"brand-new"}, []Rotation{first}, []string{"brand-new"}, nil},
		"it was given the new one":  {[]string{first.Secret}, []Rotation{first}, []string{first.Secret}, nil},
		"that was replaced in turn": {[]string{first.Secret}, []Rotation{second}, []string{second.Secret}, []string{first.Secret}},
	} {
		current, retired := InForce(test.configured, test.rotations)
		if !slices.Equal(current, test.current) || !slices.Equal(retired, test.retired) {
			t.Errorf("%s: %q and %q; want %q and %q", name, current, retired, test.current, test.retired)
		}
	}
}

func TestRotationsAreKeptInOneOrder(t *testing.T) {
	t.Parallel()
	a, b := rotate(t, alice, now, "conf"), rotate(t, bob, now, "conf")
	later := rotate(t, alice, now.Add(time.Second), "conf")
	var files [2][]Rotation
	for i, order := range [][]Rotation{{a, b, later}, {later, b, a}} {
		path := filepath.Join(t.TempDir(), "secrets.json")
		for _, r := range order {
			if added, err := AddRotation(path, r); !added || err != nil {
				t.Fatalf("%v, %v", added, err)
			}
			if added, err := AddRotation(path, r); added || err != nil {
				t.Fatalf("the second time: %v, %v", added, err)
			}
		}
		list, err := ReadRotations(path)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = list
	}
	for i := range files[0] {
		if files[0][i].Secret != files[1][i].Secret {
			t.Errorf("place %d differs", i)
		}
	}
	if files[0][0].Secret != later.Secret {
		t.Error("the newest is not first")
	}
}
