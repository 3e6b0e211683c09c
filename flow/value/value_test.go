package value

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFormatNumber(t *testing.T) {
	t.Parallel()
	tests := map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 1: "1", -1.5: "-1.5", 1e21: "1e+21", 1e20: "100000000000000000000", 123456789012345680000: "123456789012345680000",
		1e-6: "0.000001", 1e-7: "1e-7", 1.5e-10: "1.5e-10", 0.1: "0.1", 5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308", math.Inf(-1): "-Infinity",
	}
	for f, want := range tests {
		if got := FormatNumber(f); got != want {
			t.Errorf("FormatNumber(%g): got %q, want %q", f, got, want)
		}
	}
}

func TestParseNumber(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	tests := map[string]float64{
		"": 0, " \n": 0, "0x10": 16, "0b11": 3, "0o17": 15, "1e3": 1000, ".5": 0.5, "5.": 5, "+5": 5, " 12\u00a0": 12, "-Infinity": math.Inf(-1), "1e999": math.Inf(1),
		"1_000": nan, "0x": nan, "-0x10": nan, "12abc": nan, "e1": nan, ".": nan, "--5": nan, "infinity": nan, "１": nan,
	}
	for s, want := range tests {
		if got := ParseNumber(s); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("ParseNumber(%q): got %v, want %v", s, got, want)
		}
	}
}

func TestFixed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		f      float64
		digits int
		want   string
	}{
		{2.5, 0, "3"}, {-2.5, 0, "-3"}, {1.005, 2, "1.00"}, {0.5, 0, "1"}, {9.5, 0, "10"}, {-400842069449727.06, 3, "-400842069449727.063"}, {1e21, 2, "1e+21"},
		{-1e-300, 2, "-0.00"}, {math.Copysign(0, -1), 1, "0.0"}, {1.45, 1, "1.4"}, {99.95, 1, "100.0"}, {0.125, 2, "0.13"},
	}
	for _, tt := range tests {
		if got := Fixed(tt.f, tt.digits); got != tt.want {
			t.Errorf("Fixed(%v, %d): got %q, want %q", tt.f, tt.digits, got, tt.want)
		}
	}
}

func mustParse(t testing.TB, text string) Value {
	t.Helper()
	v, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
}

func TestOrderOfKeys(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"b":1,"a":2,"10":3,"2":4,"01":5,"-1":6}`, `{"2":4,"10":3,"b":1,"a":2,"01":5,"-1":6}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{`{"4294967294":1,"4294967295":2,"0":3}`, `{"0":3,"4294967294":1,"4294967295":2}`},
		{`[{"a":1,"b":2},{"a":3,"b":4},{"b":5,"a":6},{"a":7},{}]`, `[{"a":1,"b":2},{"a":3,"b":4},{"b":5,"a":6},{"a":7},{}]`},
	}
	for _, tt := range tests {
		if got := mustParse(t, tt.in).JSON(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	var b Builder
	for i := range 5000 {
		b.Set("k"+FormatNumber(float64(4999-i)), Int(i))
	}
	o := b.Object()
	if v, _ := o.Get("k17"); !Same(v, Int(4982)) || o.Len() != 5000 {
		t.Errorf("got %s of %d keys, want 4982 of 5000", v.JSON(), o.Len())
	}
	if with := o.With("k17", Null); with.Keys()[4982] != "k17" || with.Len() != 5000 {
		t.Errorf("a replaced key moved: got %q at its place", with.Keys()[4982])
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	v := Record(F("u", Undefined), F("l", List(Undefined, Null)), F("n", Number(math.NaN())), F("s", String("\x00\x1f\"\\\n<>&\u2028\x7f")), F("e", Record()))
	want := `{"l":[null,null],"n":null,"s":"\u0000\u001f\"\\\n<>&` + "\u2028\x7f" + `","e":{}}`
	if got := v.JSON(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	pretty := Record(F("a", List(Int(1), Record(F("b", List())))), F("u", Undefined)).Pretty()
	if want := "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ]\n}"; pretty != want {
		t.Errorf("got %s, want %s", pretty, want)
	}
	if got := Undefined.JSON(); got != "" {
		t.Errorf("undefined: got %q, want nothing", got)
	}
}

func TestWriteIndent(t *testing.T) {
	t.Parallel()
	items := make([]Value, 20_000)
	for i := range items {
		items[i] = Record(F("i", Int(i)), F("s", String("text")))
	}
	var b bytes.Buffer
	v := List(items...)
	if err := WriteIndent(&b, v, "> "); err != nil || b.String() != string(AppendIndent(nil, v, "> ")) {
		t.Errorf("written in pieces it is different (%v)", err)
	}
}

func TestSurrogates(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`"\ud83d\ude00"`: `"😀"`, `"\ud83d"`: `"\ud83d"`, `"\ude00\ud83d"`: `"\ude00\ud83d"`, `"a\ud800b"`: `"a\ud800b"`} {
		if got := mustParse(t, in).JSON(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	s := "a😀b"
	if Len16(s) != 4 || Cut16(s, 2) != "a\xed\xa0\xbd" || Cut16(s, 3) != "a😀" {
		t.Errorf("got length %d, cuts %q and %q", Len16(s), Cut16(s, 2), Cut16(s, 3))
	}
	if Compare16("\uff5e", "😀") <= 0 || Compare16("a", "ab") >= 0 || Compare16("😀", "😁") >= 0 {
		t.Error("order is not that of UTF-16 units")
	}
	const high, low = "\xed\xa0\xbd", "\xed\xb8\x80"
	if got := UTF8("é" + high + low + low + high + "x"); got != "é😀\ufffd\ufffdx" {
		t.Errorf("UTF8: got %q", got)
	}
	if got := String(high + low + low + high).JSON(); got != `"😀\ude00\ud83d"` {
		t.Errorf("parts of pairs that were joined are %s", got)
	}
	if got := Clean("a\xed\xa0\xbd\xff\xe2\x82z"); got != "a\ufffd\ufffd\ufffd\ufffd\ufffdz" {
		t.Errorf("Clean: got %q", got)
	}
}

func TestBadJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[1,]", "01", "1.", "-", "1e", "nul", `"a`, "\"\n\"", `"\x"`, `"\u12g4"`, "[1] 2", `{"a" 1}`, `{a:1}`, "NaN", "+1", "\ufeff1", strings.Repeat("[", MaxDepth+2)} {
		if v, err := Parse(text); err == nil {
			t.Errorf("Parse(%.20q): got %s, want an error", text, v.JSON())
		}
	}
	_, err := Parse("{\n  \"a\": x\n}")
	syn, ok := errors.AsType[*SyntaxError](err)
	if !ok || syn.Line != 2 || syn.Column != 8 {
		t.Errorf("got %v, want a fault at line 2 column 8", err)
	}
}

func TestLooseEqual(t *testing.T) {
	t.Parallel()
	equal := [][2]string{{`null`, `null`}, {`1`, `"1"`}, {`0`, `""`}, {`true`, `1`}, {`true`, `"1"`}, {`[1]`, `1`}, {`[1,2]`, `"1,2"`}, {`[null]`, `""`}, {`{}`, `"[object Object]"`}}
	differ := [][2]string{{`null`, `0`}, {`null`, `false`}, {`"a"`, `0`}, {`true`, `"true"`}, {`[]`, `null`}, {`"1"`, `"01"`}}
	for _, p := range equal {
		if !LooseEqual(mustParse(t, p[0]), mustParse(t, p[1])) {
			t.Errorf("%s == %s: got false", p[0], p[1])
		}
	}
	for _, p := range differ {
		if LooseEqual(mustParse(t, p[0]), mustParse(t, p[1])) {
			t.Errorf("%s == %s: got true", p[0], p[1])
		}
	}
	if !LooseEqual(Undefined, Null) {
		t.Error("undefined == null: got false")
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for _, p := range [][2]string{{`"10"`, `"9"`}, {`9`, `"10"`}, {`null`, `1`}, {`false`, `true`}, {`""`, `1`}, {`[2]`, `3`}} {
		if o, ok := Order(mustParse(t, p[0]), mustParse(t, p[1])); !ok || o != -1 {
			t.Errorf("%s < %s: got %d, %t", p[0], p[1], o, ok)
		}
	}
	if _, ok := Order(Undefined, Int(1)); ok {
		t.Error("undefined and 1 have an order")
	}
}

func TestDecoderItems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want string
	}{
		{" [1, {\"a\":[2]}, \"é\"] \n", `1 {"a":[2]} "é"`}, {"\ufeff\u00a0{\"a\":1}\u3000", `{"a":1}`}, {"  ", "null"}, {"[]", ""}, {"[1,2", "1 2 error"}, {"[1] x", "1 error"}, {"5 5", "error"},
	}
	for _, tt := range tests {
		var got []string
		for v, err := range NewDecoder(iotest.OneByteReader(strings.NewReader(tt.text))).Items() {
			if err != nil {
				got = append(got, "error")
				continue
			}
			got = append(got, v.JSON())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: got %s, want %s", tt.text, s, tt.want)
		}
	}
}

func TestDecoderLimitsAndErrors(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader(`["` + strings.Repeat("x", 1<<20) + `"]`))
	d.MaxItem = 1 << 16
	if err := lastError(d); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("a long item: got %v, want a limit", err)
	}
	broken := errors.New("broken")
	d = NewDecoder(io.MultiReader(strings.NewReader("[1,"), iotest.ErrReader(broken)))
	if err := lastError(d); !errors.Is(err, broken) {
		t.Errorf("a failing reader: got %v, want its error", err)
	}
}

func lastError(d *Decoder) error {
	for _, err := range d.Items() {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestAnyRoundTrip(t *testing.T) {
	t.Parallel()
	v := mustParse(t, `{"a":[1,"x",null,true,{"b":2.5}]}`)
	if got := FromAny(ToAny(v)); !Same(got, v) {
		t.Errorf("got %s, want %s", got.JSON(), v.JSON())
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	if got, want := Canonical(mustParse(t, `{"b":{"z":1,"y":[{"d":1,"c":2}]},"a":1}`)), `{"a":1,"b":{"y":[{"c":2,"d":1}],"z":1}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzJSON holds that what was read and written reads as the same, whole and in pieces.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-7,"\ud800"],"1":null}`, `[]`, `"\u0000"`, `-0`, `[[{"a":{}}]]`, "\"\xff\"", "\"\xd3\xed\xac\xac\"", "\"\xed\xa0\x80\\udc00\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if err != nil {
			return
		}
		for _, again := range []string{v.JSON(), v.Pretty()} {
			w, err := Parse(again)
			if err != nil || w.JSON() != v.JSON() { // text, because infinity is written as null
				t.Fatalf("%q was written as %q, which reads as %s (%v)", text, again, w.JSON(), err)
			}
		}
		var items []Value
		for item, err := range NewDecoder(iotest.OneByteReader(bytes.NewReader([]byte(text)))).Items() {
			if err != nil {
				t.Fatalf("%q parses, but not in pieces: %v", text, err)
			}
			items = append(items, item)
		}
		whole := []Value{v}
		if list, ok := v.AsList(); ok {
			whole = list
		}
		if !Same(List(items...), List(whole...)) {
			t.Fatalf("%q in pieces: got %s, want %s", text, List(items...).JSON(), List(whole...).JSON())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var doc strings.Builder
	doc.WriteByte('[')
	for i := range 1000 {
		if i > 0 {
			doc.WriteByte(',')
		}
		doc.WriteString(`{"id":` + FormatNumber(float64(i)) + `,"name":"an item of the list","size":12.5,"tags":["a","b"],"author":{"login":"pip"}}`)
	}
	doc.WriteByte(']')
	text := doc.String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range NewDecoder(strings.NewReader(text)).Items() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// A text of brackets and commas takes much more memory than itself, and an item of a stream starts anew.
func TestDecoderCapsMemory(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		ok   bool
	}{
		{"[[" + strings.Repeat("0,", 1000) + "0]]", false},
		{"[" + strings.Repeat("[0,0,0,0],", 1000) + "0]", true},
		{"{\"a\":[" + strings.Repeat("{},", 300) + "0]}", false},
		{"{\"a\":\"" + strings.Repeat("x", 20000) + "\",\"b\":0}", false},
		{"{" + strings.Repeat(`"a":0,`, 100) + `"b":0}`, true},
	}
	for _, tt := range tests {
		d := NewDecoder(strings.NewReader(tt.text))
		d.MaxHeld = 10000
		err := lastError(d)
		if tooMuch := err != nil && strings.Contains(err.Error(), "more than 10000 bytes of memory"); tooMuch == tt.ok || tt.ok && err != nil {
			t.Errorf("%.40s: got %v, want success: %v", tt.text, err, tt.ok)
		}
	}
}

// Cutting by bytes gives what cutting the units gives, also in the middle of a pair.
func TestSlice16(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "abc", "aé海🚀b", "🚀🚀", FromUnits([]uint16{'a', 0xD83D, 'b', 0xDE80, 0xD83D, 0xDE80})} {
		units := Units(s)
		for from := -1; from <= len(units)+1; from++ {
			for to := from - 1; to <= len(units)+2; to++ {
				if got, want := Slice16(s, from, to), FromUnits(clip(units, from, to)); got != want {
					t.Errorf("Slice16(%q, %d, %d) = %q, want %q", s, from, to, got, want)
				}
			}
		}
	}
}

func TestCase(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"straße": {"STRASSE", "straße"}, "ﬁﬀ": {"FIFF", "ﬁﬀ"}, "ǆ": {"Ǆ", "ǆ"}, "\u1fb3\u1fbc": {"ΑΙΑΙ", "\u1fb3\u1fb3"}, "İI": {"İI", "i̇i"}, "éÉ": {"ÉÉ", "éé"},
		"ΟΔΟΣ": {"ΟΔΟΣ", "οδος"}, "ΟΔΟΣ ΣΑΣ.": {"ΟΔΟΣ ΣΑΣ.", "οδος σας."}, "Σ": {"Σ", "σ"}, "ΑΣΒ": {"ΑΣΒ", "ασβ"}, "ΑΣ'Β": {"ΑΣ'Β", "ασ'β"}, "1Σ": {"1Σ", "1σ"},
		"ΑΣ1": {"ΑΣ1", "ας1"}, "x\xed\xa0\xbdY": {"X\xed\xa0\xbdY", "x\xed\xa0\xbdy"}, "": {"", ""},
	} {
		if up, low := Upper(in), Lower(in); up != want[0] || low != want[1] {
			t.Errorf("%q: got %q and %q, want %q", in, up, low, want)
		}
	}
}
