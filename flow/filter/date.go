package filter

import (
	"math"
	"regexp"
	"strconv"
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
		return value.String(value.Text(v))
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

// isoDate matches JavaScript's date time format. The groups are year, month, day, hour, minute, second, fraction and zone.
var isoDate = regexp.MustCompile(`^([+-]\d{6}|\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?(Z|[+-]\d\d:?\d\d)?$`)

// parseISO reads a date in that format: without a time it is UTC, with a time but no zone it is local. A day beyond the month's end counts on
// into the next month.
func parseISO(s string) (time.Time, bool) {
	m := isoDate.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, false
	}
	month, day := number(m[2], 1), number(m[3], 1)
	hour, minute, second := number(m[4], 0), number(m[5], 0), number(m[6], 0)
	midnight := hour == 24 && minute == 0 && second == 0
	if month < 1 || month > 12 || day < 1 || day > 31 || (hour > 23 && !midnight) || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	zone := time.UTC
	switch {
	case m[8] != "" && m[8] != "Z":
		zone = offset(m[8])
	case m[8] == "" && m[4] != "":
		zone = time.Local
	}
	nanos := number((m[7] + "000000000")[:9], 0)
	return time.Date(number(m[1], 0), time.Month(month), day, hour, minute, second, nanos, zone), true
}

// number reads digits; other if there are none.
func number(text string, other int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return other
	}
	return n
}

// offset is the zone of a text such as +02:00 or -0800.
func offset(text string) *time.Location {
	text = strings.ReplaceAll(text, ":", "")
	seconds := number(text[1:3], 0)*3600 + number(text[3:5], 0)*60
	if text[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds)
}

// The English forms: a day, then perhaps a time, then perhaps a zone.
var (
	dayLayouts = []string{
		"Jan 2 2006", "January 2 2006", "Jan 2, 2006", "January 2, 2006", "2 Jan 2006", "2 January 2006", "1/2/2006", "2006/1/2", "2006-1-2",
		"Jan 2006", "January 2006", "Mon Jan 2 2006", "Mon, 2 Jan 2006", "Monday, January 2, 2006", "Mon, Jan 2, 2006",
	}
	timeLayouts = []string{"", " 15:04:05", " 15:04", ", 3:04:05 PM", " 3:04:05 PM", " 3:04 PM", ", 15:04:05", ", 15:04"}

	parenthesised = regexp.MustCompile(`\s*\([^)]*\)`)
	namedZone     = regexp.MustCompile(` ?(?:GMT|UTC|UT|Z)?([+-]\d\d:?\d\d)$| (GMT|UTC|UT|Z|E[SD]T|C[SD]T|M[SD]T|P[SD]T)$`)
	zoneHours     = map[string]int{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
)

// parseDate reads the date texts that JavaScript programs exchange: ISO 8601, RFC 2822 and the usual English forms.
func parseDate(s string) (time.Time, bool) {
	s = strings.Join(strings.Fields(parenthesised.ReplaceAllString(s, "")), " ")
	if t, ok := parseISO(s); ok {
		return t, true
	}
	s, zone := cutZone(s)
	for _, day := range dayLayouts {
		for _, clock := range timeLayouts {
			if t, err := time.ParseInLocation(day+clock, s, zone); err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// cutZone takes the zone off the end of a date; without one it is local.
func cutZone(s string) (string, *time.Location) {
	m := namedZone.FindStringSubmatchIndex(s)
	switch {
	case m == nil || !strings.Contains(s[:m[0]], ":"): // a zone follows a time
		return s, time.Local
	case m[2] >= 0:
		return s[:m[0]], offset(s[m[2]:m[3]])
	}
	return s[:m[0]], time.FixedZone("", zoneHours[s[m[4]:m[5]]]*3600)
}
