package workflow

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lobstah/flow/schema"
	"lobstah/flow/value"
)

var extensions = []string{".lobster", ".yaml", ".yml", ".json"}

// IsFile reports whether a word names a workflow file: a regular file with one of the known extensions.
func IsFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && HasExtension(name)
}

// HasExtension reports whether a name ends as those of workflow files do.
func HasExtension(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

// Load reads and validates a workflow file. A fault of the text is a [*SyntaxError], a fault of its contents an [*InvalidError].
func Load(name string) (*File, error) {
	source, err := read(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, source)
}

// AccessError says that a workflow file cannot be read at all.
type AccessError struct {
	Path string
	Err  error
}

func (e *AccessError) Error() string {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return "ENOENT: no such file or directory, stat '" + e.Path + "'"
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *AccessError) Unwrap() error { return e.Err }

const (
	errNotFile   = plainError("Workflow path is not a file")
	errDirectory = plainError("EISDIR: illegal operation on a directory, read")
	errExtension = plainError("Workflow file must end in .lobster, .yaml, .yml, or .json")
)

// read reads a workflow file that a caller names.
func read(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return "", &AccessError{name, errNotFile}
	case err == nil && !HasExtension(name):
		return "", &AccessError{name, errExtension}
	}
	return readText(name)
}

func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", &AccessError{absolute(name), err}
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", &AccessError{absolute(name), err}
	case info.IsDir():
		return "", &AccessError{name, errDirectory}
	case !info.Mode().IsRegular():
		return "", &AccessError{name, errNotFile}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err == nil && len(data) > MaxFileBytes {
		err = fmt.Errorf("workflow file %s is larger than %d bytes", name, MaxFileBytes)
	}
	if err != nil {
		return "", &AccessError{name, err}
	}
	return value.Clean(string(data)), nil
}

func compileSchema(v value.Value) error {
	_, err := schema.Compile(v)
	return err
}

func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// Parse validates the text of a workflow file. The name decides whether it is JSON.
func Parse(name, source string) (*File, error) {
	root, err := parse(name, source)
	if err != nil {
		return nil, err
	}
	v := validator{checkSchema: compileSchema}
	v.document(root)
	if len(v.problems) > 0 {
		return nil, &InvalidError{Path: name, Problems: v.problems, source: source}
	}
	return decode(name, source, root), nil
}

func parse(name, source string) (*node, error) {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return parseJSON(source)
	}
	return parseYAML(source)
}

// decode turns a valid document into a File.
func decode(name, source string, root *node) *File {
	f := &File{
		Path: name, Source: source, Hash: hashOf(source), root: root,
		Name: root.text("name"), Description: root.text("description"), Cwd: root.text("cwd"),
		Env: decodeVars(root.get("env")), CostLimit: decodeLimit(root.get("cost_limit")),
	}
	if args := root.get("args"); args != nil {
		for _, a := range args.fields {
			f.Args = append(f.Args, Arg{a.key, a.node.val("default")})
		}
	}
	for _, s := range root.get("steps").items {
		f.Steps = append(f.Steps, decodeStep(s))
	}
	return f
}

func decodeVars(n *node) []Var {
	if n == nil {
		return nil
	}
	var vars []Var
	for _, f := range n.fields {
		if text, ok := f.node.value.AsString(); ok {
			vars = append(vars, Var{f.key, text})
		}
	}
	return vars
}

func decodeLimit(n *node) *CostLimit {
	if n == nil {
		return nil
	}
	limit, _ := costNumber(n.val("max_usd"))
	return &CostLimit{limit, n.text("action") == "stop"}
}

func decodeStep(n *node) *Step {
	s := decodeSimple(n)
	s.When, s.Timeout, s.Retry, s.OnError = condOf(n), millis(n.val("timeout_ms")), decodeRetry(n.get("retry")), OnError(n.text("on_error"))
	if s.OnError == "" {
		s.OnError = Stop
	}
	decodeKind(s, n)
	if a := n.get("approval"); a != nil && isGate(a.value) {
		s.Gate = decodeGate(a)
	}
	return s
}

// decodeSimple reads what branches and the steps of loops can be: one text to run. Blank text is nothing to do.
func decodeSimple(n *node) *Step {
	s := &Step{
		ID: n.text("id"), Kind: NoOp, node: n, Stdin: n.val("stdin"), Env: decodeVars(n.get("env")), Cwd: n.text("cwd"), Retry: Retry{Max: 1}, OnError: Stop,
	}
	shell, _ := shellText(n).AsString()
	switch {
	case value.Trim(n.text("pipeline")) != "":
		s.Kind, s.Text = Pipeline, n.text("pipeline")
	case value.Trim(shell) != "":
		s.Kind, s.Text = Shell, shell
	}
	return s
}

func decodeKind(s *Step, n *node) {
	switch {
	case n.get("parallel") != nil:
		s.Kind, s.Branches = Parallel, decodeBranches(n.get("parallel"))
	case n.get("for_each") != nil:
		s.Kind, s.Loop = ForEach, decodeLoop(n)
	case n.get("workflow") != nil:
		s.Kind, s.Path, s.PathArgs = Nested, n.text("workflow"), n.val("workflow_args")
	case n.get("input") != nil:
		in := n.get("input")
		s.Kind, s.Input = Question, &Input{in.text("prompt"), in.val("responseSchema"), in.val("defaults")}
	}
}

func condOf(n *node) value.Value {
	if w := n.val("when"); !w.IsNullish() {
		return w
	}
	return n.val("condition")
}

func decodeBranches(n *node) *Branches {
	b := &Branches{Any: n.text("wait") == "any", Timeout: millis(n.val("timeout_ms"))}
	for _, it := range n.get("branches").items {
		b.List = append(b.List, decodeSimple(it))
	}
	return b
}

func decodeLoop(n *node) *Loop {
	l := &Loop{Over: n.text("for_each"), Pause: millis(n.val("pause_ms")), Batch: 1, hasBatch: n.get("batch_size") != nil}
	l.Item, l.Index = loopVars(n)
	if b := n.val("batch_size"); !b.IsUndefined() {
		l.Batch = int(min(value.ToNumber(b), 1<<53))
	}
	for _, it := range n.get("steps").items {
		sub := decodeSimple(it)
		sub.When = condOf(it)
		l.Steps = append(l.Steps, sub)
	}
	return l
}

func decodeGate(n *node) *Gate {
	g := &Gate{Items: value.Undefined}
	if s, ok := n.value.AsString(); ok && s != "required" {
		g.Prompt = s
	}
	if !n.isObject() {
		return g
	}
	g.Prompt, g.Preview = n.text("prompt"), n.text("preview")
	if n.get("items").isList() {
		g.Items = n.val("items")
	}
	g.InitiatedBy = firstText(n, "initiatedBy", "initiated_by")
	g.RequiredApprover = firstText(n, "requiredApprover", "required_approver")
	for _, key := range []string{"require_different_approver", "requireDifferentApprover"} {
		b, _ := n.val(key).AsBool()
		g.RequireDifferentApprover = g.RequireDifferentApprover || b
	}
	return g
}

func firstText(n *node, keys ...string) string {
	for _, k := range keys {
		if t := value.Trim(n.text(k)); t != "" {
			return t
		}
	}
	return ""
}

func decodeRetry(n *node) Retry {
	r := Retry{Max: 1, Delay: time.Second, MaxDelay: 30 * time.Second}
	if n == nil {
		return r
	}
	if m := n.val("max"); !m.IsUndefined() {
		r.Max = int(min(value.ToNumber(m), 1<<31))
	}
	if n.get("delay_ms") != nil {
		r.Delay = millis(n.val("delay_ms"))
	}
	if n.get("max_delay_ms") != nil {
		r.MaxDelay = millis(n.val("max_delay_ms"))
	}
	r.Exponential = n.text("backoff") == "exponential"
	r.Jitter, _ = n.val("jitter").AsBool()
	return r
}

// millis reads a number of milliseconds; what is longer than a month is a month.
func millis(v value.Value) time.Duration {
	f, _ := v.AsNumber()
	return time.Duration(min(f, 31*24*3600*1000) * float64(time.Millisecond))
}
