package filter

import (
	"math"
	"regexp"
	"strings"
	"time"

	"lobstah/flow/value"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

// date formats a moment in UTC: milliseconds since 1970 as a number or digits, or a text that JavaScript's Date understands. Text that is
// no date stays as it is.
func date(v value.Value, args []string) value.Value {
	t, ok := moment(v)
	if !ok {
		return value.String(textOf(v))
	}
	t = t.UTC()
	if len(args) == 0 || args[0] == "" {
		return value.String(isoText(t))
	}
	out := args[0]
	for _, token := range [][2]string{{"YYYY", "2006"}, {"MM", "01"}, {"DD", "02"}, {"HH", "15"}, {"mm", "04"}, {"ss", "05"}} {
		out = strings.Replace(out, token[0], t.Format(token[1]), 1)
	}
	return value.String(out)
}

func isoText(t time.Time) string {
	if y := t.Year(); y < 0 || y > 9999 {
		sign := "+"
		if y < 0 {
			sign, y = "-", -y
		}
		return sign + pad6(y) + t.Format("-01-02T15:04:05.000Z")
	}
	return t.Format(isoMillis)
}

func pad6(n int) string {
	s := value.FormatNumber(float64(n))
	return strings.Repeat("0", max(0, 6-len(s))) + s
}

var digits = regexp.MustCompile(`^[0-9]+$`)

func moment(v value.Value) (time.Time, bool) {
	if n, ok := v.AsNumber(); ok {
		return fromMillis(n)
	}
	s := textOf(v)
	if digits.MatchString(value.Trim(s)) {
		return fromMillis(value.ParseNumber(s))
	}
	return parseDate(s)
}

// maxMillis is the end of JavaScript's time, to both sides.
const maxMillis = 8.64e15

func fromMillis(n float64) (time.Time, bool) {
	if math.IsNaN(n) || math.Abs(n) > maxMillis {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n)), true
}

// Layouts that JavaScript reads as UTC if they have no zone, and those that it reads as local time.
var (
	utcLayouts   = []string{"2006-01-02", "2006-01", "2006"}
	localLayouts = []string{
		"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04",
		"Jan 2 2006", "January 2 2006", "Jan 2, 2006", "January 2, 2006", "2 Jan 2006", "2 January 2006", "1/2/2006", "2006/1/2",
		"Jan 2 2006 15:04:05", "January 2 2006 15:04:05", "Jan 2, 2006 15:04:05", "January 2, 2006 15:04:05", "2 Jan 2006 15:04:05",
		"Jan 2 2006 15:04", "January 2 2006 15:04", "Jan 2, 2006 15:04", "January 2, 2006 15:04", "2 Jan 2006 15:04",
		"1/2/2006 15:04:05", "1/2/2006 15:04", "2006/1/2 15:04:05", "2006/1/2 15:04", "1/2/2006, 3:04:05 PM", "1/2/2006 3:04 PM",
		"Mon Jan 2 2006", "Mon, 2 Jan 2006", "Mon Jan 2 2006 15:04:05", "Mon, 2 Jan 2006 15:04:05",
	}
	zonedLayouts = []string{
		time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z0700", "2006-01-02 15:04:05 Z07:00",
		time.RFC1123, time.RFC1123Z, "Mon Jan 2 2006 15:04:05 GMT-0700", "Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700",
		"2 Jan 2006 15:04:05 -0700", "2 Jan 2006 15:04:05 MST", "Jan 2, 2006 15:04:05 MST", "Jan 2 2006 15:04:05 GMT-0700", "2006-01-02 15:04:05 MST",
	}
)

var parenthesised = regexp.MustCompile(`\s*\([^)]*\)`)

// parseDate reads the date texts that JavaScript programs exchange: ISO 8601, RFC 2822 and the usual English forms.
func parseDate(s string) (time.Time, bool) {
	s = strings.Join(strings.Fields(parenthesised.ReplaceAllString(s, "")), " ")
	if t, ok := tryLayouts(s, utcLayouts, time.UTC); ok {
		return t, true
	}
	if t, ok := tryLayouts(s, zonedLayouts, time.UTC); ok {
		return t, true
	}
	return tryLayouts(s, localLayouts, time.Local)
}

func tryLayouts(s string, layouts []string, zone *time.Location) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
