package filter

import (
	"strings"
	"time"
	"unicode"
)

// JavaScript engines read two kinds of dates: the ISO form, and, for whatever is not quite that, nearly anything with numbers and English
// words in it. The rules of the second are V8's, because scripts meet them there: unknown words are skipped until the first number, three
// numbers are year, month and day or month, day and year, and a date without a zone is local.

// parseDate reads a date as JavaScript's Date does.
func parseDate(s string) (time.Time, bool) {
	p := dateParser{tokens: dateTokens(s)}
	if p.iso() {
		return p.time()
	}
	if p.broken || !p.loose() {
		return time.Time{}, false
	}
	return p.time()
}

// unset marks a part of a date that was not seen.
const unset = -1

type dateParser struct {
	tokens   []dateToken
	day      []int // up to three numbers
	clock    []int // hour, minute, second, millisecond
	month    int   // by its name, or 0
	half     int   // hours that AM or PM adds, or unset
	isISO    bool
	broken   bool // what follows the T of an ISO date is no time
	sawDigit bool
	zone     zoneParts
}

// zoneParts are the offset from UTC. Without a sign there is none.
type zoneParts struct{ sign, hour, minute int }

func (z *zoneParts) set(hours int) {
	*z = zoneParts{1, hours, 0}
	if hours < 0 {
		*z = zoneParts{-1, -hours, 0}
	}
}

func (z zoneParts) isUTC() bool { return z.hour == 0 && z.minute == 0 }

func (p *dateParser) peek() dateToken { return p.tokens[0] }

// next takes a token; the last one, the end, stays.
func (p *dateParser) next() dateToken {
	t := p.tokens[0]
	if t.kind != endToken {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *dateParser) skip(symbol byte) bool {
	if !p.peek().is(symbol) {
		return false
	}
	p.next()
	return true
}

// number takes a number of so many digits within limits.
func (p *dateParser) number(digits, low, high int) (int, bool) {
	t := p.peek()
	if t.kind != numberToken || t.length != digits || t.n < low || t.n > high {
		return 0, false
	}
	return p.next().n, true
}

// iso reads an ISO date. Where the text stops being one before its T, the loose rules go on from there with what was read.
func (p *dateParser) iso() bool {
	p.half, p.zone = unset, zoneParts{hour: unset, minute: unset}
	if !p.isoDay() {
		return false
	}
	if p.peek().kind != endToken {
		if p.peek().word != "t" {
			return false
		}
		p.next()
		if !p.isoClock() || p.peek().kind != endToken {
			p.broken = true
			return false
		}
	}
	if p.zone.sign == 0 && len(p.clock) == 0 {
		p.zone.set(0)
	}
	p.isISO = true
	return true
}

func (p *dateParser) isoDay() bool {
	year, ok := p.isoYear()
	if !ok {
		return false
	}
	p.day = append(p.day, year)
	for _, high := range []int{12, 31} {
		if !p.skip('-') {
			break
		}
		n, ok := p.number(2, 1, high)
		if !ok {
			return false
		}
		p.day = append(p.day, n)
	}
	return true
}

// isoYear takes four digits, or six with a sign.
func (p *dateParser) isoYear() (int, bool) {
	t := p.peek()
	if !t.is('+') && !t.is('-') {
		return p.number(4, 0, 9999)
	}
	if six := p.tokens[1]; six.kind != numberToken || six.length != 6 || (t.is('-') && six.n == 0) {
		return 0, false
	}
	p.next()
	if year := p.next().n; t.is('+') {
		return year, true
	} else {
		return -year, true
	}
}

func (p *dateParser) isoClock() bool {
	hour, ok := p.number(2, 0, 24)
	if !ok {
		return false
	}
	p.clock = append(p.clock, hour)
	high := 59
	if hour == 24 {
		high = 0
	}
	if !p.skip(':') {
		return false
	}
	for range 2 {
		n, ok := p.number(2, 0, high)
		if !ok {
			return false
		}
		if p.clock = append(p.clock, n); len(p.clock) == 3 || !p.skip(':') {
			break
		}
	}
	if len(p.clock) == 3 && p.skip('.') {
		if p.peek().kind != numberToken || high == 0 && p.peek().n > 0 {
			return false
		}
		p.clock = append(p.clock, p.next().millis())
	}
	return p.isoZone()
}

// isoZone takes Z, +hh:mm or +hhmm, or nothing.
func (p *dateParser) isoZone() bool {
	t := p.peek()
	switch {
	case t.word == "z":
		p.next()
		p.zone.set(0)
		return true
	case !t.is('+') && !t.is('-'):
		return true
	}
	p.zone.sign = p.next().sign()
	if n, ok := p.number(4, 0, 2359); ok && n%100 < 60 {
		p.zone.hour, p.zone.minute = n/100, n%100
		return true
	}
	var ok bool
	if p.zone.hour, ok = p.number(2, 0, 23); !ok || !p.skip(':') {
		return false
	}
	p.zone.minute, ok = p.number(2, 0, 59)
	return ok
}

// loose reads the rest of a date by the rules for people.
func (p *dateParser) loose() bool {
	p.sawDigit = len(p.day) > 0
	for p.peek().kind != endToken {
		t := p.next()
		ok := true
		switch {
		case t.kind == numberToken:
			p.sawDigit = true
			ok = p.looseNumber(t.n)
		case t.kind == wordToken:
			ok = p.looseWord(t.word)
		case t.sign() != 0 && (p.zone.isUTC() || len(p.clock) > 0):
			ok = p.looseZone(t.sign())
		case t.sign() != 0 || t.is(')'):
			ok = !p.sawDigit
		}
		if !ok {
			return false
		}
	}
	return true
}

// expectsClock tells whether a number goes on with a time that has begun.
func (p *dateParser) expectsClock(n int) bool {
	return (len(p.clock) == 1 || len(p.clock) == 2) && n < 60 || len(p.clock) == 3 && n < 1000
}

func (p *dateParser) looseNumber(n int) bool {
	if p.skip(':') {
		if p.peek().is(':') || len(p.clock) == 4 {
			return false
		}
		p.clock = append(p.clock, n)
		p.skip('.')
		return true
	}
	dot := p.skip('.')
	switch {
	case dot && p.expectsClock(n):
		p.clock = append(p.clock, n)
		return p.peek().kind == numberToken && p.endClock(p.next().millis())
	case p.zone.hour != unset && p.zone.minute == unset && n < 60:
		p.zone.minute = n
		return true
	case p.expectsClock(n):
		after := p.peek()
		return p.endClock(n) && (after.kind == endToken || after.kind == blankToken || after.word == "z" || after.sign() != 0)
	case len(p.day) == 3:
		return false
	}
	p.day = append(p.day, n)
	p.skip('-')
	return true
}

// endClock adds the last number of a time; what is left out is zero.
func (p *dateParser) endClock(n int) bool {
	if len(p.clock) == 4 {
		return false
	}
	for p.clock = append(p.clock, n); len(p.clock) < 4; {
		p.clock = append(p.clock, 0)
	}
	return true
}

var (
	monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	zoneHours  = map[string]int{"ut": 0, "utc": 0, "z": 0, "gmt": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
)

func (p *dateParser) looseWord(word string) bool {
	for i, name := range monthNames {
		if strings.HasPrefix(word, name) {
			p.month = i + 1
			p.skip('-')
			return true
		}
	}
	hours, isZone := zoneHours[word]
	switch {
	case (word == "am" || word == "pm") && len(p.clock) > 0:
		p.half = 0
		if word == "pm" {
			p.half = 12
		}
	case isZone && p.sawDigit:
		p.zone.set(hours)
	default: // any other word is only allowed before the first number, and apart from it
		return !p.sawDigit && p.peek().kind != numberToken
	}
	return true
}

// looseZone reads the offset behind a sign: hours, hours and minutes in one, or hours and then, behind a colon, minutes.
func (p *dateParser) looseZone(sign int) bool {
	p.zone.sign = sign
	n, length := 0, 0
	if t := p.peek(); t.kind == numberToken {
		n, length = t.n, t.length
		p.next()
	}
	p.sawDigit = true
	switch {
	case p.peek().is(':'):
		p.zone.hour, p.zone.minute = n, unset
	case length == 1 || length == 2:
		p.zone.hour, p.zone.minute = n, 0
	case length == 3 || length == 4:
		p.zone.hour, p.zone.minute = n/100, n%100
	default:
		return false
	}
	return true
}

// time puts the parts together.
func (p *dateParser) time() (time.Time, bool) {
	year, month, day, ok := p.date()
	if !ok {
		return time.Time{}, false
	}
	clock := append(p.clock, 0, 0, 0, 0)[:4]
	if p.half != unset {
		if clock[0] > 12 {
			return time.Time{}, false
		}
		clock[0] = clock[0]%12 + p.half
	}
	midnight := clock[0] == 24 && clock[1] == 0 && clock[2] == 0 && clock[3] == 0
	if !midnight && (clock[0] > 23 || clock[1] > 59 || clock[2] > 59 || clock[3] > 999) {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, clock[0], clock[1], clock[2], clock[3]*int(time.Millisecond), p.zone.location())
	return fromMillis(float64(t.UnixMilli()))
}

func (z zoneParts) location() *time.Location {
	if z.sign == 0 {
		return time.Local
	}
	return time.FixedZone("", z.sign*(max(z.hour, 0)*3600+max(z.minute, 0)*60))
}

// date tells which number is what. A missing one is 1, and two-digit years are of 1950 to 2049.
func (p *dateParser) date() (year, month, day int, ok bool) {
	if len(p.day) == 0 {
		return 0, 0, 0, false
	}
	n := append(p.day, 1, 1)[:3]
	first := n[0] < 1 || n[0] > 31 // the first one can only be a year
	switch {
	case p.month != 0 && first:
		year, month, day = n[0], p.month, n[1]
	case p.month != 0:
		year, month, day = n[1], p.month, n[0]
	case p.isISO || first:
		year, month, day = n[0], n[1], n[2]
	default:
		year, month, day = n[2], n[0], n[1]
	}
	switch {
	case p.isISO || year < 0 || year > 99:
	case year < 50:
		year += 2000
	default:
		year += 1900
	}
	return year, month, day, month >= 1 && month <= 12 && day >= 1 && day <= 31
}

type tokenKind uint8

const (
	endToken tokenKind = iota
	numberToken
	wordToken // letters and whatever sorts after them
	symbolToken
	blankToken
	otherToken
)

type dateToken struct {
	kind   tokenKind
	n      int    // of a number, its first nine digits
	length int    // of a number, with its leading zeros
	word   string // in lower case
	symbol byte
}

func (t dateToken) is(symbol byte) bool { return t.kind == symbolToken && t.symbol == symbol }

// sign is 1 for +, -1 for -, and 0 for anything else.
func (t dateToken) sign() int {
	switch {
	case t.is('+'):
		return 1
	case t.is('-'):
		return -1
	}
	return 0
}

// millis reads a number as the digits behind a decimal point.
func (t dateToken) millis() int {
	n, length := t.n, min(t.length, maxDateDigits)
	for ; length < 3; length++ {
		n *= 10
	}
	for ; length > 3; length-- {
		n /= 10
	}
	return n
}

// maxDateDigits is how many digits of a number count.
const maxDateDigits = 9

// dateTokens splits a text; what stands in parentheses is no part of it. An end follows, twice, so that looking ahead is safe.
func dateTokens(s string) []dateToken {
	var out []dateToken
	for r := []rune(s); len(r) > 0; {
		t, n := dateToken{kind: otherToken}, 1
		switch c := r[0]; {
		case c >= '0' && c <= '9':
			t, n = numberAt(r)
		case strings.ContainsRune(":-+.)", c):
			t = dateToken{kind: symbolToken, symbol: byte(c)}
		case unicode.IsSpace(c):
			n = span(r, unicode.IsSpace)
			t = dateToken{kind: blankToken}
		case c >= 'A':
			n = span(r, func(c rune) bool { return c >= 'A' && !unicode.IsSpace(c) })
			t = dateToken{kind: wordToken, word: strings.ToLower(string(r[:n]))}
		case c == '(':
			n = parentheses(r)
		}
		out, r = append(out, t), r[n:]
	}
	return append(out, dateToken{}, dateToken{})
}

func span(r []rune, in func(rune) bool) int {
	n := 0
	for n < len(r) && in(r[n]) {
		n++
	}
	return n
}

func numberAt(r []rune) (dateToken, int) {
	length := span(r, func(c rune) bool { return c >= '0' && c <= '9' })
	zeros := span(r, func(c rune) bool { return c == '0' })
	n := 0
	for _, c := range r[zeros:min(length, zeros+maxDateDigits)] {
		n = n*10 + int(c-'0')
	}
	return dateToken{kind: numberToken, n: n, length: length}, length
}

// parentheses is the length of what stands in them, or of the rest if they stay open.
func parentheses(r []rune) int {
	open := 0
	for i, c := range r {
		switch c {
		case '(':
			open++
		case ')':
			open--
		}
		if open == 0 {
			return i + 1
		}
	}
	return len(r)
}
