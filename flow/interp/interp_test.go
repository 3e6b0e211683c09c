package interp_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// log notes what the test's commands do, in order.
type log struct{ entries []string }

func (l *log) add(s string) { l.entries = append(l.entries, s) }

// registry has a source of endless numbers, an eager and a lazy passer, a gate, a question, and a stage with an effect.
func registry(l *log) *interp.Registry {
	numbers := func(yield func(value.Value, error) bool) {
		defer l.add("closed")
		for i := 0; yield(value.Int(i), nil); i++ {
		}
	}
	pass := func(name string) func(context.Context, *interp.Call) (interp.Output, error) {
		return func(_ context.Context, call *interp.Call) (interp.Output, error) {
			return interp.Output{Output: interp.Map(call.Input, func(v value.Value) (value.Value, error) {
				l.add(name + v.JSON())
				return v, nil
			})}, nil
		}
	}
	return interp.NewRegistry(
		interp.Command{Name: "numbers", Lazy: true, Run: func(context.Context, *interp.Call) (interp.Output, error) {
			return interp.Output{Output: numbers}, nil
		}},
		interp.Command{Name: "a", Lazy: true, Run: pass("a")},
		interp.Command{Name: "b", Lazy: true, Run: pass("b")},
		interp.Command{Name: "two", Lazy: true, Stops: true, Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			return interp.Output{Output: func(yield func(value.Value, error) bool) {
				n := 0
				for v, err := range call.Input {
					if !yield(v, err) || n == 1 {
						return
					}
					n++
				}
			}}, nil
		}},
		interp.Command{Name: "all", Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			items, err := interp.Collect(call.Input)
			return interp.Emit(items...), err
		}},
		interp.Command{Name: "gate", Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			return interp.Output{Output: interp.Items(value.String("request")), Halt: true}, interp.Drain(call.Input)
		}},
		interp.Command{Name: "question", Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			if !call.Response.IsUndefined() {
				return interp.Emit(call.Response), nil
			}
			items, err := interp.Collect(call.Input)
			if err != nil {
				return interp.Output{}, err
			}
			return interp.Output{}, &interp.Suspension{Items: items, Request: interp.InputRequest{Prompt: "?", Schema: value.Record()}}
		}},
		interp.Command{Name: "effect", SideEffects: []string{"test"}, Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			l.add("effect")
			return interp.Output{Output: call.Input}, nil
		}},
		interp.Command{Name: "fail", Lazy: true, Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			return interp.Output{Output: interp.Map(call.Input, func(value.Value) (value.Value, error) { return value.Undefined, errors.New("failed") })}, nil
		}},
	)
}

func run(t *testing.T, l *log, text string, opts interp.Options) ([]value.Value, interp.Result, error) {
	t.Helper()
	p, err := syntax.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	res, err := interp.Run(t.Context(), &interp.Env{Commands: registry(l)}, p, opts)
	if err != nil {
		return nil, res, err
	}
	items, err := interp.Collect(res.Output)
	return items, res, err
}

func TestStagesStream(t *testing.T) {
	t.Parallel()
	var l log
	items, _, err := run(t, &l, "numbers | a | b | two", interp.Options{})
	if err != nil || len(items) != 2 {
		t.Fatalf("got %d items, %v, want 2", len(items), err)
	}
	want := []string{"a0", "b0", "a1", "b1", "closed"}
	if !slices.Equal(l.entries, want) {
		t.Errorf("got %v, want %v", l.entries, want)
	}
}

func TestUnknownCommandComesAfterEffects(t *testing.T) {
	t.Parallel()
	var l log
	_, _, err := run(t, &l, "effect | nothing", interp.Options{Input: interp.Items(value.Int(1))})
	if _, ok := errors.AsType[interp.UnknownCommandError](err); !ok || !slices.Equal(l.entries, []string{"effect"}) {
		t.Errorf("got %v after %v, want an unknown command after the effect", err, l.entries)
	}
}

// A stage that fails at its start ends what an earlier one left running, and waits for it.
func TestBackgroundWorkEnds(t *testing.T) {
	t.Parallel()
	ended := false
	r := interp.NewRegistry(
		interp.Command{Name: "busy", Lazy: true, Run: func(ctx context.Context, call *interp.Call) (interp.Output, error) {
			call.Go(func() {
				<-ctx.Done()
				ended = true
			})
			return interp.Output{Output: call.Input}, nil
		}},
		interp.Command{Name: "wrong", Run: func(context.Context, *interp.Call) (interp.Output, error) {
			return interp.Output{}, errors.New("wrong")
		}},
	)
	for _, text := range []string{"busy | wrong", "busy | nothing", "busy"} {
		ended = false
		p, err := syntax.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		res, err := interp.Run(t.Context(), &interp.Env{Commands: r}, p, interp.Options{})
		if err == nil {
			_, err = interp.Collect(res.Output)
		}
		if !ended || (err == nil) != (text == "busy") {
			t.Errorf("%s: ended %t, %v", text, ended, err)
		}
	}
}

func TestHalt(t *testing.T) {
	t.Parallel()
	var l log
	items, res, err := run(t, &l, "a | gate | effect", interp.Options{Input: interp.Items(value.Int(7))})
	if err != nil || res.Halted == nil || res.Halted.Stage != 1 || res.Halted.Name != "gate" {
		t.Fatalf("got %+v, %v, want a halt at stage 1", res.Halted, err)
	}
	if len(items) != 1 || slices.Contains(l.entries, "effect") {
		t.Errorf("got %d items after %v, want the request and no effect", len(items), l.entries)
	}
}

func TestSuspensionAndAnswer(t *testing.T) {
	t.Parallel()
	var l log
	_, _, err := run(t, &l, "a | question | effect", interp.Options{Input: interp.Items(value.Int(7))})
	ask, ok := errors.AsType[*interp.Suspension](err)
	if !ok || ask.Stage != 1 || len(ask.Items) != 1 || !ask.Fits() {
		t.Fatalf("got %v, want the question of stage 1 with one item", err)
	}
	want := `{"pending":{"requestIndex":0,"metadata":{"prompt":"?","responseSchema":{},"signature":"{\"prompt\":\"?\",\"responseSchema\":{}}"},"suspendedState":{"type":"question"}},"history":[]}`
	if got := ask.CommandInput().JSON(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	items, _, err := run(t, &l, "question | b", interp.Options{Input: interp.Items(ask.Items...), Response: value.String("yes")})
	if err != nil || len(items) != 1 || items[0].Plain() != "yes" {
		t.Errorf("got %v, %v, want the answer as the only item", items, err)
	}
}

func TestBeforeUnsafeIsCalledOnce(t *testing.T) {
	t.Parallel()
	var l log
	calls := 0
	_, _, err := run(t, &l, "a | effect | effect", interp.Options{BeforeUnsafe: func() error { calls++; return nil }})
	if err != nil || calls != 1 {
		t.Errorf("got %d calls, %v, want 1", calls, err)
	}
	refused := errors.New("refused")
	l.entries = nil
	_, _, err = run(t, &l, "a | effect", interp.Options{BeforeUnsafe: func() error { return refused }})
	if !errors.Is(err, refused) || len(l.entries) != 0 {
		t.Errorf("got %v after %v, want the refusal before any effect", err, l.entries)
	}
}

func TestErrorsTellTheirStage(t *testing.T) {
	t.Parallel()
	var l log
	_, _, err := run(t, &l, "numbers | fail --x y | all", interp.Options{})
	at, ok := errors.AsType[*interp.StageError](err)
	if !ok || at.Where() != "stage 2 (fail --x=y)" || err.Error() != "failed" {
		t.Errorf("got %v, want the failure of stage 2", err)
	}
	if !slices.Contains(l.entries, "closed") {
		t.Error("the source was not closed after the failure")
	}
}

func TestCancelledRunEnds(t *testing.T) {
	t.Parallel()
	var l log
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cause := errors.New("stopped by the test")
	p, _ := syntax.Parse("numbers | a")
	res, err := interp.Run(ctx, &interp.Env{Commands: registry(&l)}, p, interp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err = range res.Output {
		if n++; n == 3 {
			cancel(cause)
		}
	}
	if !errors.Is(err, cause) || n != 4 {
		t.Errorf("got %v after %d items, want the cause after 3", err, n)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	c := interp.Command{Params: []interp.Param{{Name: "n", Type: "number", Description: "how many", Default: value.Int(3)}, {Name: "_", Type: "array"}}, Required: []string{"n"}}
	want := `{"type":"object","properties":{"n":{"type":"number","description":"how many","default":3},"_":{"type":"array","items":{"type":"string"}}},"required":["n"]}`
	if got := c.Schema().JSON(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	tests := []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"LOBSTER_SHELL": "/bin/bash"}, "/bin/bash -c x"},
		{map[string]string{"LOBSTER_SHELL": " /bin/sh ", "LOBSTER_LOGIN_SHELL": "1"}, "/bin/sh -lc x"},
		{map[string]string{"LOBSTER_SHELL": `C:\Windows\CMD.EXE`}, `C:\Windows\CMD.EXE /d /s /c x`},
		{map[string]string{"LOBSTER_SHELL": "/opt/pwsh"}, "/opt/pwsh -NoProfile -Command x"},
	}
	for _, tt := range tests {
		env := &interp.Env{Vars: tt.vars}
		if got := strings.Join(env.Shell("x"), " "); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.vars, got, tt.want)
		}
	}
}

func TestNoHandlers(t *testing.T) {
	t.Parallel()
	env := &interp.Env{}
	if _, err := env.Start(t.Context(), &interp.Process{Argv: []string{"ls"}}); !errors.Is(err, interp.ErrNoHandler) {
		t.Errorf("got %v, want that nothing can be run", err)
	}
	if env.Interactive() {
		t.Error("nobody is there, and yet they can be asked")
	}
}

func TestLimitVar(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 5, " ": 5, "10": 10} {
		env := &interp.Env{Vars: map[string]string{"L": text}}
		if got, err := env.LimitVar("L", 5); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "1.5", "x", "99999999999999999999"} {
		env := &interp.Env{Vars: map[string]string{"L": text}}
		if _, err := env.LimitVar("L", 5); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}
