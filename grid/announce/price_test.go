package announce

import (
	"testing"
	"time"

	"lobstah/key"
)

func TestParsePrice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Price{
		"0.2/0.6 EUR":      {0.2, 0.6, "EUR"},
		" 0.2   EUR ":      {0.2, 0.2, "EUR"},
		"0 credit":         {0, 0, "credit"},
		"1e3/1000000 sats": {1000, 1e6, "sats"},
		"1/2 €":            {1, 2, "€"},
	} {
		got, err := ParsePrice(text)
		if err != nil || got != want {
			t.Errorf("ParsePrice(%q) = %+v, %v, want %+v", text, got, err, want)
			continue
		}
		if again, err := ParsePrice(got.String()); err != nil || again != want {
			t.Errorf("ParsePrice(%q) = %+v, %v, want %+v", got.String(), again, err, want)
		}
		announced(t, &got)
	}
	for _, text := range []string{
		"", "EUR", "0.2", "0.2 EUR a token", "0.2/EUR", "/ EUR", "-1 EUR", "-0 EUR", "NaN EUR", "Inf EUR", "1e13 EUR", "1/1e13 EUR", "1/2/3 EUR",
		"1 12345678901234567", "1 a\x1bb", "1 a\u202eb", "1 \xff",
	} {
		if got, err := ParsePrice(text); err == nil || got != (Price{}) {
			t.Errorf("ParsePrice(%q) = %+v, %v, want an error", text, got, err)
		}
	}
}

// announced checks that a price can be signed and read again.
func announced(t *testing.T, p *Price) {
	t.Helper()
	pair := key.FromSeed([32]byte{1})
	now := time.UnixMilli(1790000000000)
	s, err := Sign(pair, Offer{ID: pair.ID(), URL: "http://192.0.2.7:17474", TTL: time.Minute, AnnouncedAt: now, Price: p})
	if err != nil {
		t.Fatalf("sign %v: %v", p, err)
	}
	got, err := Open(s.Envelope(), now)
	if err != nil || got.Price == nil || *got.Price != *p {
		t.Errorf("%v came back as %v, %v", p, got.Price, err)
	}
}

func FuzzParsePrice(f *testing.F) {
	for _, seed := range []string{"0.2/0.6 EUR", "1 credit", "1e12/0 x", "-1 EUR"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePrice(text); err == nil {
			announced(t, &p)
		}
	})
}
