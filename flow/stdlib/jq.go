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
		return interp.Output{Output: eachJQ(ctx, call, code, call.Input)}, nil
	}
	items, err := call.Collect(call.Input)
	return interp.Output{Output: eachJQ(ctx, call, code, interp.Items(value.List(items...)))}, err
}

// careful redefines what makes, in one operation that nothing can end, much more than it gets.
const careful = `
def _join($s): join($s);
def join($s): if (if type == "array" or type == "object" then length else 0 end) * ($s | if type == "string" then utf8bytelength else 0 end) > 268435456
  then error("join would make a text of more than 256 MiB") else _join($s) end;
.`

func compileJQ(text string) (*gojq.Code, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("jq cannot read the program: %w", err)
	}
	if query.FuncDefs, err = withCareful(query.FuncDefs); err != nil {
		return nil, err
	}
	code, err := gojq.Compile(query, gojq.WithEnvironLoader(func() []string { return nil }))
	if err != nil {
		return nil, fmt.Errorf("jq cannot compile the program: %w", err)
	}
	return code, nil
}

func withCareful(defs []*gojq.FuncDef) ([]*gojq.FuncDef, error) {
	ours, err := gojq.Parse(careful)
	if err != nil {
		return nil, err
	}
	return append(ours.FuncDefs, defs...), nil
}

// eachJQ yields the results of the program for each item.
func eachJQ(ctx context.Context, call *interp.Call, code *gojq.Code, in interp.Seq) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		ctx, end := watchHeap(ctx, call.Budget, call.Go)
		defer end()
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
				v, err := fromJQ(ctx, result)
				if !yield(v, err) || err != nil {
					return
				}
			}
		}
	}
}

func fromJQ(ctx context.Context, result any) (value.Value, error) {
	if err, isError := result.(error); isError {
		if ctx.Err() != nil { // jq knows that it was ended, not why
			err = context.Cause(ctx)
		}
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
