// Package value holds what flows through a pipeline: JSON values that behave as they do in JavaScript.
//
// The original shell is a JavaScript program, and JavaScript's rules show in everything that it prints: the order of an
// object's keys, the text of a number, which strings are equal to which numbers, what "longer than 80" counts. All of
// those rules live here and nowhere else:
//
//   - [Value] is one immutable value: undefined, null, a boolean, a number, a string, a list or an [Object].
//   - [Parse] and [NewDecoder] read JSON (the decoder reads a list one item at a time, so memory stays flat);
//     [Append], [AppendIndent] and [Value.JSON] write it as JSON.stringify does.
//   - [LooseEqual], [Order], [Same], [Text] and [ToNumber] are ==, <, Object.is, String() and Number().
//   - [Len16], [Cut16] and [Compare16] measure, cut and order strings in UTF-16 units.
//
// Strings are WTF-8: UTF-8 in which a lone surrogate, which JSON may carry, is kept as its three bytes. [Clean] makes
// outside text valid, and what leaves as plain text goes through it too.
//
// Everybody under flow imports this package; it imports only the standard library, does no I/O of its own and starts no
// goroutine. Values may be shared between goroutines. JSON text is hostile: nesting is capped at [MaxDepth].
package value

import (
	"math"
	"unsafe"
)

// Kind tells what a [Value] is.
type Kind uint8

// The kinds of values. The zero Value is Undefined.
const (
	KindUndefined Kind = iota
	KindNull
	KindBool
	KindNumber
	KindString
	KindList
	KindObject
)

// Value is one immutable JSON value, or undefined. It takes 24 bytes; booleans, numbers and the headers of strings and
// lists need no memory beside it.
type Value struct {
	_   [0]func() // values are compared with Same, never with ==
	num uint64    // a boolean, the bits of a number, the length of a string or list
	ref any       // nil, a Kind, a stringptr, a listptr or an *Object
}

type (
	stringptr *byte
	listptr   *Value
)

// Undefined is the zero Value: a missing field. JSON objects drop it, lists print it as null.
var Undefined Value

// Null is JSON's null.
var Null = Value{ref: KindNull}

// True and False are the booleans.
var (
	True  = Value{ref: KindBool, num: 1}
	False = Value{ref: KindBool}
)

// Bool returns b as a Value.
func Bool(b bool) Value {
	if b {
		return True
	}
	return False
}

// Number returns f as a Value.
func Number(f float64) Value { return Value{ref: KindNumber, num: math.Float64bits(f)} }

// Int returns n as a number; beyond 2^53 it loses precision, as every number here does.
func Int(n int) Value { return Number(float64(n)) }

// String returns s as a Value. s must be valid UTF-8 or WTF-8: see [Clean].
func String(s string) Value {
	return Value{num: uint64(len(s)), ref: stringptr(unsafe.StringData(s))}
}

// List returns the list of vs. The caller must not change vs afterwards.
func List(vs ...Value) Value {
	return Value{num: uint64(len(vs)), ref: listptr(unsafe.SliceData(vs))}
}

// Strings returns a list of strings.
func Strings(ss []string) Value {
	vs := make([]Value, len(ss))
	for i, s := range ss {
		vs[i] = String(s)
	}
	return List(vs...)
}

// FromObject returns o as a Value; nil is the empty object.
func FromObject(o *Object) Value { return Value{ref: o} }

// Kind tells what v is.
func (v Value) Kind() Kind {
	switch r := v.ref.(type) {
	case Kind:
		return r
	case stringptr:
		return KindString
	case listptr:
		return KindList
	case *Object:
		return KindObject
	}
	return KindUndefined
}

// IsUndefined reports whether v is undefined.
func (v Value) IsUndefined() bool { return v.ref == nil }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.Kind() == KindNull }

// IsNullish reports whether v is null or undefined.
func (v Value) IsNullish() bool { return v.Kind() <= KindNull }

// AsBool returns v's boolean, or false and false.
func (v Value) AsBool() (b, ok bool) {
	if v.Kind() != KindBool {
		return false, false
	}
	return v.num == 1, true
}

// AsNumber returns v's number without conversion, or 0 and false.
func (v Value) AsNumber() (float64, bool) {
	if v.Kind() != KindNumber {
		return 0, false
	}
	return math.Float64frombits(v.num), true
}

// AsString returns v's string without conversion, or "" and false.
func (v Value) AsString() (string, bool) {
	if p, ok := v.ref.(stringptr); ok {
		return unsafe.String(p, v.num), true
	}
	return "", false
}

// AsList returns v's items, or nil and false. The caller must not change them.
func (v Value) AsList() ([]Value, bool) {
	if p, ok := v.ref.(listptr); ok {
		return unsafe.Slice(p, v.num), true
	}
	return nil, false
}

// AsObject returns v's object, or nil and false. A nil Object with true is the empty object.
func (v Value) AsObject() (*Object, bool) {
	o, ok := v.ref.(*Object)
	return o, ok
}

// Field returns the field of an object, Undefined if v is no object or has no such field.
func (v Value) Field(key string) Value {
	o, _ := v.AsObject()
	f, _ := o.Get(key)
	return f
}

// Property is JavaScript's v[key]: fields of objects, items and length of lists, and characters and length of strings.
// Everything else is Undefined.
func (v Value) Property(key string) Value {
	switch v.Kind() {
	case KindObject:
		return v.Field(key)
	case KindList:
		items, _ := v.AsList()
		return listProperty(items, key)
	case KindString:
		s, _ := v.AsString()
		return stringProperty(s, key)
	}
	return Undefined
}

func listProperty(items []Value, key string) Value {
	if key == "length" {
		return Int(len(items))
	}
	if i, ok := arrayIndex(key); ok && uint64(i) < uint64(len(items)) {
		return items[i]
	}
	return Undefined
}

func stringProperty(s, key string) Value {
	if key == "length" {
		return Int(Len16(s))
	}
	if i, ok := arrayIndex(key); ok && int(i) < Len16(s) {
		return String(Slice16(s, int(i), int(i)+1))
	}
	return Undefined
}

// Truthy is JavaScript's Boolean(v).
func (v Value) Truthy() bool {
	switch v.Kind() {
	case KindBool:
		return v.num == 1
	case KindNumber:
		f := math.Float64frombits(v.num)
		return f != 0 && f == f
	case KindString:
		return v.num > 0
	case KindList, KindObject:
		return true
	}
	return false
}

// TypeOf is JavaScript's typeof: "undefined", "object" (also of null and lists), "boolean", "number" or "string".
func (v Value) TypeOf() string {
	switch v.Kind() {
	case KindUndefined:
		return "undefined"
	case KindBool:
		return "boolean"
	case KindNumber:
		return "number"
	case KindString:
		return "string"
	}
	return "object"
}
