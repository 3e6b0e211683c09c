package batch

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"lobstah/openai"
)

// maxFaults are told of one input; the rest is likely the same.
const maxFaults = 100

// maxCustomID caps a custom_id in bytes.
const maxCustomID = 512

// entry is where a line of the input lies. There are as many in memory as the
// input has lines, so it is small.
type entry struct {
	offset int64
	length int32
	model  uint16 // index in index.models
}

// index is an input that is in order.
type index struct {
	entries []entry
	models  []string
	ids     map[idHash]int32 // by custom_id: index of the entry
}

// idHash stands for a custom_id, which may be long.
type idHash [16]byte

func hashID(id string) idHash {
	sum := sha256.Sum256([]byte(id))
	return idHash(sum[:16])
}

// checker builds an index and collects what is wrong.
type checker struct {
	endpoint string
	limits   Limits
	index    index
	models   map[string]uint16
	faults   []Fault
}

// checkFile reads an input. The faults are the file's own; the error is not.
func checkFile(path, endpoint string, limits Limits) (*index, []Fault, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, []Fault{{Code: "file_not_found", Message: "The input file was deleted before the batch began.", Param: new("input_file_id")}}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > limits.Input {
		return nil, []Fault{{Code: "file_too_large", Param: new("input_file_id"),
			Message: fmt.Sprintf("The input has %d bytes; a batch takes at most %d. Split it into several.", info.Size(), limits.Input)}}, nil
	}
	return check(f, endpoint, limits)
}

// check reads the lines of an input.
func check(r io.Reader, endpoint string, limits Limits) (*index, []Fault, error) {
	c := &checker{endpoint: endpoint, limits: limits, models: map[string]uint16{}}
	c.index.ids = map[idHash]int32{}
	for l, err := range lines(r, limits.Line) {
		if err != nil {
			return nil, nil, err
		}
		if len(c.index.entries) == limits.Lines {
			c.fault(0, "too_many_tasks", "", "The input has more than %d requests, the most that a batch takes. Split it into several.", limits.Lines)
			break
		}
		if c.line(l); len(c.faults) >= maxFaults {
			break
		}
	}
	if len(c.index.entries) == 0 && len(c.faults) == 0 {
		c.fault(0, "empty_file", "", "The input has no requests: it wants one JSON object on each line.")
	}
	if len(c.faults) > 0 {
		return nil, c.faults, nil
	}
	return &c.index, nil, nil
}

// fault notes what is wrong; number 0 is the file as a whole.
func (c *checker) fault(number int, code, param, format string, args ...any) {
	f := Fault{Code: code, Message: fmt.Sprintf(format, args...)}
	if number > 0 {
		f.Line = &number
	}
	if param != "" {
		f.Param = &param
	}
	c.faults = append(c.faults, f)
}

// line checks one line and takes it into the index.
func (c *checker) line(l line) {
	if l.text == nil {
		c.fault(l.number, "line_too_large", "", "This line has %d bytes; at most %d are taken.", l.length, c.limits.Line)
		return
	}
	var r request
	if err := json.Unmarshal(l.text, &r); err != nil {
		c.unreadable(l.number, err)
		return
	}
	model, ok := c.members(l.number, &r)
	if !ok {
		return
	}
	at, known := c.models[model]
	if !known && len(c.models) == c.limits.Models {
		c.fault(l.number, "too_many_models", "body.model", "A batch may name at most %d models.", c.limits.Models)
		return
	}
	if !known {
		at = uint16(len(c.models))
		c.models[strings.Clone(model)] = at
		c.index.models = append(c.index.models, strings.Clone(model))
	}
	id := hashID(*r.CustomID)
	if _, twice := c.index.ids[id]; twice {
		c.fault(l.number, "duplicate_custom_id", "custom_id", "The custom_id %.80q is that of an earlier line; each has to be unique.", *r.CustomID)
		return
	}
	c.index.ids[id] = int32(len(c.index.entries))
	c.index.entries = append(c.index.entries, entry{l.offset, int32(l.length), at})
}

func (c *checker) unreadable(number int, err error) {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		c.fault(number, "invalid_type", wrong.Field, "This line's %s is a JSON %s; it has to be a string.", wrong.Field, wrong.Value)
		return
	}
	c.fault(number, "invalid_json_line", "", "This line is not a JSON object: %v", err)
}

// members checks what a line says. It returns the model.
func (c *checker) members(number int, r *request) (model string, ok bool) {
	for _, m := range []struct {
		name    string
		missing bool
	}{
		{"custom_id", r.CustomID == nil || *r.CustomID == ""}, {"method", r.Method == nil},
		{"url", r.URL == nil}, {"body", len(r.Body) == 0 || string(r.Body) == "null"},
	} {
		if m.missing {
			c.fault(number, "missing_required_parameter", m.name, "This line has no %s.", m.name)
			return "", false
		}
	}
	switch {
	case len(*r.CustomID) > maxCustomID:
		c.fault(number, "invalid_custom_id", "custom_id", "This line's custom_id is longer than %d bytes.", maxCustomID)
	case *r.Method != "POST":
		c.fault(number, "invalid_method", "method", "This line's method is %.20q; it has to be POST.", *r.Method)
	case *r.URL != c.endpoint:
		c.fault(number, "url_mismatch", "url", "This line's url is %.80q; the batch's endpoint is %s.", *r.URL, c.endpoint)
	default:
		return c.body(number, r.Body)
	}
	return "", false
}

func (c *checker) body(number int, body []byte) (model string, ok bool) {
	request, err := openai.ParseRequest(body)
	if err != nil {
		param := "body"
		if e, ok := errors.AsType[*openai.Error](err); ok && e.Param != "" {
			param += "." + e.Param
		}
		c.fault(number, "invalid_request", param, "%s", err.Error())
		return "", false
	}
	if request.Stream {
		c.fault(number, "unsupported_parameter", "body.stream", "A batch's answers are whole; leave stream out.")
		return "", false
	}
	return request.Model, true
}

// model returns the model of all lines, nil when there are several.
func (x *index) model() *string {
	if len(x.models) == 1 {
		return &x.models[0]
	}
	return nil
}

// byModel returns the entries of each model, in order.
func (x *index) byModel() [][]int32 {
	lists := make([][]int32, len(x.models))
	for i, e := range x.entries {
		lists[e.model] = append(lists[e.model], int32(i))
	}
	return lists
}

// readEntry reads a line again.
func readEntry(r io.ReaderAt, e entry) (*request, error) {
	text := make([]byte, e.length)
	if _, err := r.ReadAt(text, e.offset); err != nil {
		return nil, err
	}
	var q request
	if err := json.Unmarshal(text, &q); err != nil {
		return nil, fmt.Errorf("the input changed: %w", err)
	}
	if q.CustomID == nil || len(q.Body) == 0 {
		return nil, errors.New("the input changed")
	}
	q.Body = slices.Clip(q.Body)
	return &q, nil
}
