package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"lobstah/mesh/tool/child"
)

// A Question is what an approval hook gets as JSON: the call as it will run.
type Question struct {
	ID       string          `json:"id"`
	Caller   Caller          `json:"caller"`
	Executor Executor        `json:"executor"`
	Tool     string          `json:"tool"`
	Args     json.RawMessage `json:"args"`
}

const (
	defaultApproval = 60 * time.Second
	maxAnswer       = 64 << 10
)

// NewApprover makes the hook of a configuration; nil where there is none. The program gets
// the question on its standard input and approves by exit code 0 and
// {"approve":true} on its output; the address gets it by POST and approves by 200
// and the same. All else is a no, and so is silence.
func NewApprover(a Approval) Approver {
	if a.none() {
		return nil
	}
	return &hook{a, &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type hook struct {
	Approval
	client *http.Client
}

// Approve asks the hook.
func (h *hook) Approve(ctx context.Context, q Question) error {
	if h.Tools != nil && !covers(h.Tools, q.Tool) {
		return nil
	}
	timeout := defaultApproval
	if h.Timeout > 0 {
		timeout = time.Duration(h.Timeout) * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nobody answered within %s", timeout))
	defer cancel()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ask := h.post
	if len(h.Command) > 0 {
		ask = h.run
	}
	answer, err := ask(ctx, body)
	if err == nil {
		err = judge(answer)
	}
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if e, ok := errors.AsType[*Error](err); ok { // the call itself was ended meanwhile
		return e
	}
	return refuse(CodeApproval, "the owner of this node decides", "the call was not approved: %s", err)
}

func judge(answer []byte) error {
	var a struct {
		Approve bool   `json:"approve"`
		Reason  string `json:"reason"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf(`the approval hook did not answer {"approve":true}`)
	}
	if !a.Approve {
		return fmt.Errorf("%.200s", first(a.Reason, "the owner said no"))
	}
	return nil
}

func first(texts ...string) string {
	i := slices.IndexFunc(texts, func(s string) bool { return s != "" })
	return append(texts, "")[max(i, 0)]
}

func (h *hook) run(ctx context.Context, body []byte) ([]byte, error) {
	cmd := exec.Command(h.Command[0], h.Command[1:]...)
	cmd.Stdin = bytes.NewReader(body)
	var out bytes.Buffer
	exit, err := child.Run(ctx, cmd, func(stream string, data []byte) {
		if stream == "stdout" {
			out.Write(data[:min(len(data), maxAnswer-out.Len())])
		}
	})
	if err == nil && exit != (child.Exit{}) {
		err = fmt.Errorf("the approval hook ended with code %d", exit.Code)
	}
	return out.Bytes(), err
}

func (h *hook) post(ctx context.Context, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(r)
	if err != nil {
		return nil, errors.New("the approval hook cannot be reached") // its address is the owner's
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the approval hook answered %s", strings.ToLower(response.Status))
	}
	return io.ReadAll(io.LimitReader(response.Body, maxAnswer))
}
