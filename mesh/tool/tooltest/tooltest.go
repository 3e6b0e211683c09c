// Package tooltest is the suite that every tool.Backend has to pass.
//
// Call [Backend] from the tests of a backend with a call that works. Only tests
// import it.
package tooltest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"

	"lobstah/mesh/tool"
)

// Backend checks what tool.Server relies on: what is listed is what there is, a
// call that works gives a result that can be sent, calls may be made at once, and
// one whose context has ended ends and gives no result of a run.
func Backend(t *testing.T, b tool.Backend, works tool.Call) {
	t.Helper()
	infos, err := b.Tools(t.Context())
	if err != nil {
		t.Fatalf("Tools: %v", err)
	}
	for _, info := range infos {
		if has, err := b.Has(t.Context(), info.Name); !has || err != nil {
			t.Errorf("Has(%q), which is listed: %t, %v", info.Name, has, err)
		}
		if info.Parameters != nil && !json.Valid(info.Parameters) {
			t.Errorf("the parameters of %q are no JSON: %s", info.Name, info.Parameters)
		}
	}
	if !slices.ContainsFunc(infos, func(i tool.Info) bool { return i.Name == works.Tool }) {
		t.Errorf("%q is not listed", works.Tool)
	}
	for _, name := range []string{"", "no such tool", works.Tool + "x"} {
		if has, err := b.Has(t.Context(), name); has || err != nil {
			t.Errorf("Has(%q): %t, %v", name, has, err)
		}
	}
	atOnce(t, b, works)
	ended(t, b, works)
}

func atOnce(t *testing.T, b tool.Backend, works tool.Call) {
	t.Helper()
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			call := works
			result, err := b.Call(t.Context(), &call, func(string, []byte) {})
			if err != nil || result == nil || result.IsError {
				t.Errorf("Call: %+v, %v", result, err)
				return
			}
			if _, err := json.Marshal(result); err != nil {
				t.Errorf("the result cannot be sent: %v", err)
			}
		})
	}
	calls.Wait()
}

func ended(t *testing.T, b tool.Backend, works tool.Call) {
	t.Helper()
	why := errors.New("the caller left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if result, err := b.Call(ctx, &works, func(string, []byte) {}); err == nil {
		t.Errorf("a call whose context has ended gave %+v", result)
	}
}
