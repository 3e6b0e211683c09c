package tool

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// ReadArgs reads the arguments of a tool into a struct. Members that the struct
// does not have are refused, since what they ask for would not happen.
func ReadArgs(raw json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return refuse(CodeArguments, "known are: "+strings.Join(members(into), ", "), "the arguments cannot be used: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// members lists the JSON names of a struct's fields.
func members(v any) []string {
	var names []string
	for f := range reflect.TypeOf(v).Elem().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
