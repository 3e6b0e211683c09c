package workflow

import (
	"lobstah/flow/value"
)

// allows evaluates a step's condition. Its errors end the run, whatever on_error says: a condition that cannot be read must not decide.
func (s scope) allows(when value.Value) (bool, error) {
	if when.IsNullish() {
		return true, nil
	}
	if b, ok := when.AsBool(); ok {
		return b, nil
	}
	text, ok := when.AsString()
	if !ok {
		return false, fatal{plainError("Unsupported condition type")}
	}
	text = value.Trim(text)
	c, err := parseCondition(text)
	if err != nil {
		return false, fatal{plainError("Unsupported condition: " + text)}
	}
	v, err := c.eval(s.strict)
	if err != nil {
		return false, fatal{err}
	}
	return v.Truthy(), nil
}
