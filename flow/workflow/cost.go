package workflow

import (
	"fmt"
	"io"
	"math"
	"sync"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// Charge is what one answer cost.
type Charge struct {
	Step         string
	Model        string // "" when the answer named none
	InputTokens  float64
	OutputTokens float64
	USD          float64
}

// Cost is what the models of a run cost.
type Cost struct {
	InputTokens  float64
	OutputTokens float64
	USD          float64
	Charges      []Charge
}

// maxKnown bounds how many answers are remembered as paid.
const maxKnown = 4096

// meter adds up what a run's models cost. It is safe for concurrent use: parallel branches share it.
type meter struct {
	stderr io.Writer
	limit  *CostLimit
	prices map[string]price

	mu     sync.Mutex // guards the following
	total  Cost
	warned map[string]bool
	paid   map[*value.Object]bool // usage objects of answers that are paid for
	copies map[string]bool        // the JSON of those answers' usage, to know copies that were stored in between
	outer  *meter                 // of the workflow that this one is a step of
	step   string                 // the step in it
}

func newMeter(env *interp.Env, limit *CostLimit) *meter {
	m := &meter{stderr: env.Stderr, limit: limit, warned: map[string]bool{}, paid: map[*value.Object]bool{}, copies: map[string]bool{}}
	m.prices = prices
	if text := env.Var("LOBSTER_LLM_PRICING_JSON"); text != "" {
		m.prices = m.customPrices(text)
	}
	return m
}

// nested is the meter of a workflow that runs as a step: it has its own limit, and what it counts counts outside, too.
func (m *meter) nested(bill *account, limit *CostLimit) *meter {
	return &meter{
		stderr: m.stderr, limit: limit, prices: m.prices, paid: map[*value.Object]bool{}, copies: map[string]bool{},
		outer: m, step: bill.step,
	}
}

// checkStop is check for a limit that stops the run; one that warns says nothing.
func (m *meter) checkStop() error {
	if m.limit == nil || !m.limit.Stop {
		return nil
	}
	return m.check()
}

// check compares the total with the limit.
func (m *meter) check() error {
	if m.limit == nil {
		return nil
	}
	m.mu.Lock()
	usd := m.total.USD
	m.mu.Unlock()
	if usd <= m.limit.MaxUSD {
		return nil
	}
	if m.limit.Stop {
		return fatal{plainError(fmt.Sprintf("Cost limit exceeded: $%s > $%s limit", value.Fixed(usd, 4), value.Fixed(m.limit.MaxUSD, 2)))}
	}
	fmt.Fprintf(m.stderr, "[WARN] Cost $%s exceeds limit $%s\n", value.Fixed(usd, 4), value.Fixed(m.limit.MaxUSD, 2))
	return nil
}

func (m *meter) summary() Cost {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.total
	c.USD = math.Round(c.USD*1e6) / 1e6
	return c
}

func (m *meter) remember(item value.Value) {
	usage, ok := item.Field("usage").AsObject()
	if !ok {
		return
	}
	for ; m != nil; m = m.outer {
		m.mu.Lock()
		if len(m.paid) >= maxKnown {
			clear(m.paid)
		}
		if len(m.copies) >= maxKnown {
			clear(m.copies)
		}
		m.paid[usage] = true
		m.copies[fingerprint(item)] = true
		m.mu.Unlock()
	}
}

func fingerprint(item value.Value) string {
	return item.Field("usage").JSON() + value.Text(item.Field("model"))
}

func (m *meter) knows(item value.Value, from origin) bool {
	usage, _ := item.Field("usage").AsObject()
	m.mu.Lock()
	known := m.paid[usage] || from == stored && m.copies[fingerprint(item)]
	m.mu.Unlock()
	return known || m.outer != nil && m.outer.knows(item, from)
}

// knowsAll reports whether all items that carry usage are paid for.
func (m *meter) knowsAll(items []value.Value) bool {
	for _, it := range items {
		if it.Field("usage").Kind() == value.KindObject && !m.knows(it, passedOn) {
			return false
		}
	}
	return true
}

// charge adds one answer to the total.
func (m *meter) charge(step string, item value.Value) {
	usage := item.Field("usage")
	c := Charge{Step: step, InputTokens: tokens(usage, "inputTokens", "input_tokens", "prompt_tokens"), OutputTokens: tokens(usage, "outputTokens", "output_tokens", "completion_tokens")}
	c.Model, _ = item.Field("model").AsString()
	p, known := m.prices[c.Model]
	if !known {
		m.warnUnpriced(c.Model)
	}
	c.USD = (c.InputTokens*p.input + c.OutputTokens*p.output) / 1e6
	m.add(c)
}

func (m *meter) add(c Charge) {
	m.mu.Lock()
	m.total.InputTokens += c.InputTokens
	m.total.OutputTokens += c.OutputTokens
	m.total.USD += c.USD
	m.total.Charges = append(m.total.Charges, c)
	m.mu.Unlock()
	if m.outer != nil {
		c.Step = m.step + "." + c.Step
		m.outer.add(c)
	}
}

// warnUnpriced says once for each model that its price is unknown.
func (m *meter) warnUnpriced(model string) {
	root := m
	for root.outer != nil {
		root = root.outer
	}
	root.mu.Lock()
	seen := root.warned[model]
	root.warned[model] = true
	root.mu.Unlock()
	if seen {
		return
	}
	if model == "" {
		model = "<missing>"
	}
	fmt.Fprintf(m.stderr, "[WARN] No LLM pricing configured for model %q; recording zero cost. Set LOBSTER_LLM_PRICING_JSON to enable cost_limit enforcement for this model.\n", model)
}

func tokens(usage value.Value, names ...string) float64 {
	for _, n := range names {
		v := usage.Field(n)
		if v.IsNullish() {
			continue
		}
		if f := value.ToNumber(v); f > 0 && !math.IsInf(f, 0) {
			return math.Floor(f)
		}
		return 0
	}
	return 0
}

// Value is the cost as documents hold it.
func (c Cost) Value() value.Value {
	steps := make([]value.Value, len(c.Charges))
	for i, ch := range c.Charges {
		steps[i] = value.Record(
			value.F("stepId", value.String(ch.Step)), value.F("model", value.String(ch.Model)), value.F("inputTokens", value.Number(ch.InputTokens)),
			value.F("outputTokens", value.Number(ch.OutputTokens)), value.F("costUsd", value.Number(ch.USD)),
		)
	}
	return value.Record(
		value.F("totalInputTokens", value.Number(c.InputTokens)), value.F("totalOutputTokens", value.Number(c.OutputTokens)),
		value.F("estimatedCostUsd", value.Number(c.USD)), value.F("byStep", value.List(steps...)),
	)
}

// restore takes up what a paused run had spent.
func (m *meter) restore(doc value.Value) {
	steps, _ := doc.Field("byStep").AsList()
	for _, s := range steps {
		model, _ := s.Field("model").AsString()
		in, out, usd := rate(s.Field("inputTokens")), rate(s.Field("outputTokens")), rate(s.Field("costUsd"))
		m.add(Charge{value.Text(s.Field("stepId")), model, max(0, in), max(0, out), max(0, usd)})
	}
}
