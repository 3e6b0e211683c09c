package stdlib

import (
	"context"
	"fmt"
	"math/big"

	"github.com/itchyny/gojq"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func jqCommand() interp.Command {
	return interp.Command{
		Name:        "jq",
		Description: "Transform each item with a jq program",
		Help: "jq '.author.login'\njq 'select(.size > 100) | {id, name}'\njq --slurp 'length'\n\nThe program runs once for each item; --slurp runs it once on the list of all.\n" +
			"It sees neither environment nor files. Objects come back with their keys sorted.",
		Params:   []interp.Param{boolParam("slurp", "Run once on the list of all items"), positional()},
		Required: []string{"_"},
		Extra:    true,
		Lazy:     true,
		Run:      runJQ,
	}
}

func runJQ(ctx context.Context, call *interp.Call) (interp.Output, error) {
	text := call.Args.Joined()
	slurp := call.Args.Truthy("slurp")
	if s, isText := call.Args.Get("slurp").AsString(); isText { // the program follows the flag, which takes it for its value
		text = first(text, s)
	}
	if text == "" {
		return interp.Output{}, fault("jq requires a program (e.g. jq '.title')")
	}
	code, err := compileJQ(text)
	if err != nil {
		return interp.Output{}, err
	}
	if !slurp {
		return interp.Output{Output: eachJQ(ctx, code, call.Input)}, nil
	}
	items, err := call.Collect(call.Input)
	return interp.Output{Output: eachJQ(ctx, code, interp.Items(value.List(items...)))}, err
}

func compileJQ(text string) (*gojq.Code, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("jq cannot read the program: %w", err)
	}
	code, err := gojq.Compile(query, gojq.WithEnvironLoader(func() []string { return nil }))
	if err != nil {
		return nil, fmt.Errorf("jq cannot compile the program: %w", err)
	}
	return code, nil
}

// eachJQ yields the results of the program for each item.
func eachJQ(ctx context.Context, code *gojq.Code, in interp.Seq) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		for item, err := range in {
			if err != nil {
				yield(value.Undefined, err)
				return
			}
			results := code.RunWithContext(ctx, value.ToAny(item))
			for {
				result, more := results.Next()
				if !more {
					break
				}
				v, err := fromJQ(result)
				if !yield(v, err) || err != nil {
					return
				}
			}
		}
	}
}

func fromJQ(result any) (value.Value, error) {
	if err, isError := result.(error); isError {
		return value.Undefined, fmt.Errorf("jq: %w", err)
	}
	return value.FromAny(plainNumbers(result)), nil
}

// plainNumbers turns the big integers that jq may make into doubles, which is what values hold.
func plainNumbers(x any) any {
	switch x := x.(type) {
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64()
		return f
	case []any:
		for i := range x {
			x[i] = plainNumbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plainNumbers(x[k])
		}
	}
	return x
}
