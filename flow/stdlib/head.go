package stdlib

import (
	"math"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func headCommand() interp.Command {
	return interp.Command{
		Name:        "head",
		Description: "Keep the first items",
		Help:        "head --n 5",
		Params:      []interp.Param{withDefault(numberParam("n", "How many items to keep"), value.Int(10)), positional()},
		Required:    []string{},
		Lazy:        true,
		Stops:       true,
		Run:         lazily(head),
	}
}

func head(call *interp.Call) (interp.Seq, error) {
	n := 10.0
	if v := call.Args.Get("n"); !v.IsUndefined() {
		n = value.ToNumber(v)
	}
	if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return nil, fault("head --n must be a non-negative number")
	}
	return take(call.Input, n), nil
}

func take(in interp.Seq, n float64) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		taken := 0.0
		if n <= 0 {
			for range in { // closes what feeds it
				return
			}
			return
		}
		for v, err := range in {
			if !yield(v, err) || err != nil {
				return
			}
			if taken++; taken >= n {
				return
			}
		}
	}
}
