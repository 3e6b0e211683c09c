package workflow

import (
	"fmt"
	"maps"
	"math"

	"lobstah/flow/value"
)

// price is what a model costs in USD per million tokens.
type price struct{ input, output float64 }

// prices of the models that are known without configuration.
var prices = map[string]price{
	"gpt-4o":                     {2.5, 10},
	"gpt-4o-mini":                {0.15, 0.6},
	"gpt-4-turbo":                {10, 30},
	"gpt-3.5-turbo":              {0.5, 1.5},
	"claude-opus-4-20250514":     {15, 75},
	"claude-sonnet-4-5-20250514": {3, 15},
	"claude-haiku-3-5":           {0.8, 4},
	"gemini-1.5-pro":             {1.25, 5},
	"gemini-1.5-flash":           {0.075, 0.3},
}

func (m *meter) customPrices(text string) map[string]price {
	out := map[string]price{}
	maps.Copy(out, prices)
	doc, err := value.Parse(text)
	o, ok := doc.AsObject()
	valid := err == nil && ok
	for name, rates := range o.All() {
		p := price{rate(rates.Field("input")), rate(rates.Field("output"))}
		valid = valid && value.Trim(name) != "" && p.input >= 0 && p.output >= 0
		out[name] = p
	}
	if !valid {
		fmt.Fprintln(m.stderr, "[WARN] Ignoring invalid LOBSTER_LLM_PRICING_JSON; custom LLM pricing must be a JSON object whose model entries have finite non-negative input and output rates.")
		return prices
	}
	return out
}

func rate(v value.Value) float64 {
	f, ok := v.AsNumber()
	if !ok || math.IsInf(f, 0) || math.IsNaN(f) {
		return -1
	}
	return f
}
