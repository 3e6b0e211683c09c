package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"lobstah/flow/host"
	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/stdlib"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// TestMain lets the test binary be a small workflow runner, so that tests can start, kill and resume real processes:
//
//	WORKFLOW_TEST_MAIN=1 workflow.test run FILE [ARGS-JSON] | resume TOKEN|ID yes|no|cancel|JSON | graph FILE FORMAT | plan FILE
func TestMain(m *testing.M) {
	if os.Getenv("WORKFLOW_TEST_MAIN") == "" {
		os.Exit(m.Run())
	}
	if err := runMain(context.Background(), os.Args[1:]); err != nil {
		fmt.Println(err)
		if _, isRefusal := errors.AsType[workflow.Refusal](err); isRefusal {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func runMain(ctx context.Context, args []string) error {
	opts := options(environ(), os.Stdout, os.Stderr)
	switch args[0] {
	case "run":
		f, err := workflow.Load(args[1])
		if err != nil {
			return err
		}
		if len(args) > 2 {
			if opts.Args, err = value.Parse(args[2]); err != nil {
				return err
			}
		}
		return show(workflow.Run(ctx, f, opts))
	case "resume":
		key, err := keyOf(opts.Pauses, args[1])
		if err != nil {
			return err
		}
		answer, err := answerOf(args[2])
		if err != nil {
			return err
		}
		return show(workflow.Resume(ctx, key, answer, opts))
	}
	return fmt.Errorf("unknown command %s", args[0])
}

func keyOf(store *state.Store, text string) (string, error) {
	if len(text) == 8 {
		return store.ApprovalKey(text)
	}
	tok, err := state.DecodeToken(text)
	return tok.Key, err
}

func answerOf(text string) (workflow.Answer, error) {
	switch text {
	case "yes", "no":
		return workflow.Answer{Approve: new(text == "yes")}, nil
	case "cancel":
		return workflow.Answer{Cancel: true}, nil
	}
	v, err := value.Parse(text)
	return workflow.Answer{Response: v}, err
}

func show(out workflow.Outcome, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(envelope(out).JSON())
	return nil
}

func envelope(out workflow.Outcome) value.Value {
	return value.Record(value.F("status", value.String(string(out.Status))), value.F("output", value.List(out.Output...)), value.F("request", out.Request))
}

func environ() map[string]string {
	vars := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	return vars
}

// options is a tool-mode world with real processes.
func options(vars map[string]string, stdout, stderr interface{ Write([]byte) (int, error) }) workflow.Options {
	getenv := func(k string) string { return vars[k] }
	dir, err := state.Dir(getenv)
	if err != nil {
		panic(err)
	}
	journal, err := state.JournalDir(getenv)
	if err != nil {
		panic(err)
	}
	store := state.Open(dir)
	cwd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	env := &interp.Env{
		Handlers: host.Handlers(nil, os.Stdout, vars), Commands: interp.NewRegistry(stdlib.Commands()...), Mode: interp.Tool, Vars: vars, Stdout: stdout, Stderr: stderr, Store: store,
		Cache: state.OpenCache(state.CacheDir(getenv, cwd)),
	}
	return workflow.Options{Env: env, Pauses: store, Journal: state.OpenJournal(journal)}
}
