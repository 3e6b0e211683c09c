package filter

import (
	"strings"
	"testing"

	"lobstah/flow/value"
)

func TestRender(t *testing.T) {
	t.Parallel()
	item, err := value.Parse(`{"s":" Hi there ","n":3.14159,"z":0,"l":["a",null,"b"],"o":{"k":"v"},"e":"","csv":"x;y","u":"straße","iso":"2024-02-29T12:34:56.789Z","t":true}`)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, want string }{
		{"{{s | trim | upper}}!", "HI THERE!"}, {"{{u | upper}}", "STRASSE"}, {"{{ o.k }}{{o}}{{missing}}{{t}}", `v{"k":"v"}true`}, {"{{}} {i} {{{s}}}", "{{}} {i} }"},
		{"{{l | join}}", "a, , b"}, {"{{l | length}}{{s | length}}{{n | length}}", "3100"}, {"{{l.1}}{{l.length}}", "3"},
		{"{{s | trim | truncate 2}}", "Hi..."}, {"{{s | truncate 2x}}", " H..."}, {"{{s | trim | replace i '$&$&'}}", "Hii there"}, {`{{csv | split ";" | last}}`, "y"},
		{`{{csv | replace ";" "|"}}`, "x|y"}, {"{{e | default none}}{{z | default x}}", "none0"}, {"{{n | round 2}} {{n | round}}", "3.14 3"}, {"{{s | round}}", " Hi there "},
		{"{{iso | date YYYY/MM/DD}}", "2024/02/29"}, {"{{iso | date 'YYYY YYYY'}}", "2024 YYYY"}, {"{{z | date}}", "1970-01-01T00:00:00.000Z"}, {"{{s | trim | date}}", "Hi there"},
		{"{{csv | replace '' -}}", "-x-;-y-"}, {"{{csv | default 'a''b'}}{{e | default 'a''b'}}", "x;ya"}, {"{{missing | default | json}}|", "|"}, {"{{csv | replace ';' '$`'}}", "xxy"}, {"{{o | json}}", "{\n  \"k\": \"v\"\n}"}, {"{{s | first}}{{l | first}}", " Hi there a"},
	}
	for _, tt := range tests {
		if got, err := Render(tt.text, item); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"{{s | nope}}", "{{s | Upper}}", "{{s |}}"} {
		if got, err := Render(bad, item); err == nil || !strings.HasPrefix(err.Error(), "Unknown template filter: ") {
			t.Errorf("%s: got %q, %v, want an unknown filter", bad, got, err)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"2024-01": "2024-01-01T00:00:00.000Z", "2024-02-30": "2024-03-01T00:00:00.000Z", "2024-01-05T24:00:00Z": "2024-01-06T00:00:00.000Z", "2024-01-05T10:00+02:00": "2024-01-05T08:00:00.000Z",
		"Fri Jan 05 2024 10:20:30 GMT+0200 (EET)": "2024-01-05T08:20:30.000Z", "Fri, 05 Jan 2024 10:20:30 GMT": "2024-01-05T10:20:30.000Z", "Jan 5 2024 10:20 PST": "2024-01-05T18:20:00.000Z",
		"05 January 2024 10:20 UTC": "2024-01-05T10:20:00.000Z", "+002024-01-05T00:00:00Z": "2024-01-05T00:00:00.000Z", "2024-13-01": "2024-13-01", "": "", "tomorrow": "tomorrow",
		"12.5": "2001-12-05T00:00:00.000Z", "Jan 5 24": "2024-01-05T00:00:00.000Z", "Jan 5 70": "1970-01-05T00:00:00.000Z", "March 7": "2001-03-07T00:00:00.000Z", "1/2/3": "2003-01-02T00:00:00.000Z",
		"2024-03-05t06:07:08z": "2024-03-05T06:07:08.000Z", "2024-03-05T06:07:08.Z": "2024-03-05T06:07:08.Z", "2024-03-05T6:07:08Z": "2024-03-05T6:07:08Z", "05.03.2024": "2024-05-03T00:00:00.000Z",
		"2024-Mar-05": "2024-03-05T00:00:00.000Z", "Mar 5 2024 GMT-0530": "2024-03-05T05:30:00.000Z", "Mar 5, 2024, 1:02:03 pm (x)": "2024-03-05T13:02:03.000Z", "Mar 5 2024 13:00 pm": "Mar 5 2024 13:00 pm",
		"5 Marxyz 2024": "2024-03-05T00:00:00.000Z", "x2024": "x2024", "Foo 5 2024": "Foo 5 2024", "-000001-01-01T00:00:00Z": "-000001-01-01T00:00:00.000Z",
		"1700000000123": "2023-11-14T22:13:20.123Z", "1000000000000000000": "1000000000000000000",
	}
	for in, want := range tests {
		got, err := Apply(value.String(in), "date")
		if err != nil || value.Text(got) != want {
			t.Errorf("%q: got %q, %v, want %q", in, value.Text(got), err, want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, seed := range []string{"2024-03-05T06:07:08.123+02:00", "Tue Mar 05 2024 06:07:08 GMT+0200 (EET)", "1/2/3 4:5 pm", "((", "+000000", "12:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseDate(s)
		if again, okAgain := parseDate(s); ok != okAgain || !at.Equal(again) {
			t.Errorf("%q: got %v, %v, and the second time %v, %v", s, at, ok, again, okAgain)
		}
	})
}

func FuzzRender(f *testing.F) {
	f.Add("{{a | replace 'x' '$&' | split | join '-'}}", `{"a":"xyx"}`)
	f.Add("{{. | date 'YYYY' | round 3}}", `1e12`)
	f.Add("{{a.b.c | truncate -1 | last}}", `{"a":{"b":[1]}}`)
	f.Fuzz(func(t *testing.T, text, doc string) {
		item, err := value.Parse(doc)
		if err != nil {
			return
		}
		first, err := Render(text, item)
		second, again := Render(text, item)
		if first != second || (err == nil) != (again == nil) {
			t.Errorf("rendering %q twice: %q (%v) and %q (%v)", text, first, err, second, again)
		}
	})
}
