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
	out := strings.Replace(args[0], "YYYY", strconv.Itoa(t.Year()), 1)
	for _, token := range [][2]string{{"MM", "01"}, {"DD", "02"}, {"HH", "15"}, {"mm", "04"}, {"ss", "05"}} {
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
	if s, ok := v.AsString(); ok && digits.MatchString(value.Trim(s)) {
		return fromMillis(value.ParseNumber(s))
	}
	return parseDate(value.Text(v))
}

// maxMillis is the end of JavaScript's time, to both sides.
const maxMillis = 8.64e15

func fromMillis(n float64) (time.Time, bool) {
	if math.IsNaN(n) || math.Abs(n) > maxMillis {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n)), true
}
