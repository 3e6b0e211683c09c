package stdlib

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"

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
	err, isError := result.(error)
	if !isError {
		var v value.Value
		if v, err = (&conversion{ctx: ctx}).value(result, 0); err == nil {
			return v, nil
		}
	}
	if ctx.Err() != nil { // jq knows that it was ended, not why
		err = context.Cause(ctx)
	}
	return value.Undefined, fmt.Errorf("jq: %w", err)
}

// conversion turns what jq holds into a value. Parts that stand in several places of a result are one in jq and become as many values, so a
// small result may have no end here; it ends with the context, which ends when memory does.
type conversion struct {
	ctx  context.Context
	seen int
}

var errDeepResult = fmt.Errorf("the result nests deeper than %d", value.MaxDepth)

func (c *conversion) value(x any, depth int) (value.Value, error) {
	if depth > value.MaxDepth {
		return value.Undefined, errDeepResult
	}
	if c.seen++; c.seen%1024 == 0 && c.ctx.Err() != nil {
		return value.Undefined, context.Cause(c.ctx)
	}
	switch x := x.(type) {
	case []any:
		vs := make([]value.Value, len(x))
		for i, e := range x {
			var err error
			if vs[i], err = c.value(e, depth+1); err != nil {
				return value.Undefined, err
			}
		}
		return value.List(vs...), nil
	case map[string]any:
		var b value.Builder
		for _, k := range slices.SortedFunc(maps.Keys(x), value.Compare16) {
			v, err := c.value(x[k], depth+1)
			if err != nil {
				return value.Undefined, err
			}
			b.Set(value.Clean(k), v)
		}
		return b.Value(), nil
	case *big.Int: // values hold doubles
		f, _ := new(big.Float).SetInt(x).Float64()
		return value.Number(f), nil
	}
	return value.FromAny(x), nil
}
