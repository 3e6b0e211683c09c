package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// ReadArgs reads the arguments of a tool into a struct. Members that the struct
// does not have are refused, since what they ask for would not happen; so are those
// that stand twice or in other capitals, since whoever else reads the arguments,
// such as an approval hook, would take them for something else.
func ReadArgs(raw json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, end := dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows them")
		}
	}
	if err == nil {
		exact := json.NewDecoder(bytes.NewReader(raw))
		exact.UseNumber()
		err = checkNames(exact, reflect.TypeOf(into).Elem())
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

// checkNames looks at the names of all members of the next value, which is one of
// type t where that is known. The value has been decoded before, so it is JSON and
// nested no deeper than that allows.
func checkNames(dec *json.Decoder, t reflect.Type) error {
	token, err := dec.Token()
	switch {
	case err != nil:
		return err
	case token == json.Delim('{'):
		return checkMembers(dec, t)
	case token != json.Delim('['):
		return nil
	}
	for dec.More() {
		if err := checkNames(dec, element(t)); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the end
	return err
}

func checkMembers(dec *json.Decoder, t reflect.Type) error {
	fields := fieldTypes(t)
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		inner, known := fields[name]
		switch {
		case seen[name]:
			return fmt.Errorf("%.100q stands twice", name)
		case fields == nil:
			inner = element(t)
		case !known:
			return fmt.Errorf("unknown field %.100q", name)
		}
		seen[name] = true
		if err := checkNames(dec, inner); err != nil {
			return err
		}
	}
	_, err := dec.Token() // the end
	return err
}

// fieldTypes are the fields of a struct by their JSON names, nil of other types.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
	}
	return fields
}

// element is the type of what lists and maps hold, nil of other types.
func element(t reflect.Type) reflect.Type {
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		return t.Elem()
	}
	return nil
}
