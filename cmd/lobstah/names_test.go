package main

import (
	"crypto/sha256"
	"strings"
	"testing"

	"lobstah/grid/discover"
	"lobstah/key"
)

func numberedKey(n byte) key.ID { return key.FromSeed(sha256.Sum256([]byte{n})).ID() }

func TestDistinctNames(t *testing.T) {
	t.Parallel()
	ann, ben := numberedKey(1), numberedKey(2)
	long := strings.Repeat("é", discover.MaxLabel/2)
	all := []nameplate{{ann, "box"}, {ann, "box-2"}, {ben, ""}, {ben, long}}
	for name, test := range map[string]struct {
		label string
		id    key.ID
		want  string
	}{
		"free":                 {"shed", numberedKey(3), "shed"},
		"one's own":            {"box", ann, "box"},
		"another's":            {"box", ben, "box-3"},
		"none":                 {"", numberedKey(3), ""},
		"as long as it may be": {long, ann, strings.Repeat("é", discover.MaxLabel/2-1) + "-2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := distinctName(test.label, test.id, all)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if _, err := discover.ParseLabel(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhichMachineIsMeant(t *testing.T) {
	t.Parallel()
	ann, ben := numberedKey(1), numberedKey(2)
	all := []nameplate{{ann, "box"}, {ann, "box"}, {ben, "shed"}, {ben, "box of Ben"}, {numberedKey(3), "twin"}, {numberedKey(4), "twin"}}
	for text, want := range map[string]key.ID{
		ann.String(): ann, "box": ann, "shed": ben, "box of Ben": ben, ben.Short(): ben,
		numberedKey(9).String(): numberedKey(9), // whoever it is
	} {
		if got, err := keyMeant(text, all); err != nil || got != want {
			t.Errorf("%q means %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"twin": "2 machines are called", "": "neither", "lob1": "neither", "nobody": "neither", ann.Short() + "zz": "neither",
	} {
		if id, err := keyMeant(text, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q means %v, %v; want an error with %q", text, id, err, want)
		}
	}
}
