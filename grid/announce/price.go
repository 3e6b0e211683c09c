package announce

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Price is what a million tokens cost. It is told to who looks; nothing in
// the grid asks for it or pays it.
type Price struct {
	Input, Output float64
	Unit          string // such as credit or EUR
}

const (
	maxPrice = 1e12
	maxUnit  = 16 // bytes
)

// ParsePrice reads a price as people type it: "0.2/0.6 EUR", or "0.2 EUR" where
// a token that is read costs as much as one that is written.
func ParsePrice(text string) (Price, error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return Price{}, fmt.Errorf("%.40q is no price: want what a million tokens cost and in what, such as 0.2/0.6 EUR (read/written)", text)
	}
	in, out, two := strings.Cut(words[0], "/")
	if !two {
		out = in
	}
	p := Price{Unit: words[1]}
	var errIn, errOut error
	p.Input, errIn = parseAmount(in)
	p.Output, errOut = parseAmount(out)
	if err := cmp.Or(errIn, errOut); err != nil {
		return Price{}, err
	}
	if len(p.Unit) > maxUnit || !utf8.ValidString(p.Unit) || strings.ContainsFunc(p.Unit, misleading) {
		return Price{}, fmt.Errorf("%.40q is no unit: want at most %d bytes of text", p.Unit, maxUnit)
	}
	return p, nil
}

func parseAmount(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.Signbit(n) || n > maxPrice {
		return 0, fmt.Errorf("%.40q is no amount: want a number from 0 to %g", text, maxPrice)
	}
	return n, nil
}

// String is the price as [ParsePrice] reads it.
func (p Price) String() string {
	amount := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return amount(p.Input) + "/" + amount(p.Output) + " " + p.Unit
}
