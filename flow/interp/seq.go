package interp

import (
	"io"
	"iter"

	"lobstah/flow/value"
)

// Seq is a stream of items. After an error nothing follows.
type Seq = iter.Seq2[value.Value, error]

// Empty is the sequence without items.
func Empty(func(value.Value, error) bool) {}

// Items returns the sequence of these items.
func Items(items ...value.Value) Seq {
	return func(yield func(value.Value, error) bool) {
		for _, v := range items {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Spread returns the items of a list, or the value as one item.
func Spread(v value.Value) Seq {
	if items, ok := v.AsList(); ok {
		return Items(items...)
	}
	return Items(v)
}

// Drain pulls the sequence to its end and drops the items.
func Drain(seq Seq) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// Map returns the sequence of f's results.
func Map(seq Seq, f func(value.Value) (value.Value, error)) Seq {
	return func(yield func(value.Value, error) bool) {
		for v, err := range seq {
			if err == nil {
				v, err = f(v)
			}
			if err != nil {
				yield(value.Undefined, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Filter returns the items that keep accepts.
func Filter(seq Seq, keep func(value.Value) bool) Seq {
	return func(yield func(value.Value, error) bool) {
		for v, err := range seq {
			if err != nil {
				yield(value.Undefined, err)
				return
			}
			if keep(v) && !yield(v, nil) {
				return
			}
		}
	}
}

// OneOrList returns a single item as it is and any other number of items as a list.
func OneOrList(items []value.Value) value.Value {
	if len(items) == 1 {
		return items[0]
	}
	return value.List(items...)
}

// WriteList pulls the items one at a time and writes them as a pretty JSON list, whose further lines begin with prefix. It returns how many
// there were.
func WriteList(w io.Writer, items Seq, prefix string) (n int, err error) {
	before, after := "[\n"+prefix+"  ", "[]"
	for v, err := range items {
		if err != nil {
			return n, err
		}
		if v.IsUndefined() {
			v = value.Null
		}
		if _, err := io.WriteString(w, before); err != nil {
			return n, err
		}
		if err := value.WriteIndent(w, v, prefix+"  "); err != nil {
			return n, err
		}
		before, after = ",\n"+prefix+"  ", "\n"+prefix+"]"
		n++
	}
	_, err = io.WriteString(w, after)
	return n, err
}
