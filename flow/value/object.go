package value

import (
	"iter"
	"slices"
	"strconv"
)

// indexAbove is the number of keys above which a shape keeps a map beside its list.
const indexAbove = 12

// Object is an immutable object. Its keys stand in JavaScript's order: those that are array indices first, ascending, then the
// others as they were added. The nil Object is empty. Objects that were read from one list share the list of their keys.
type Object struct {
	shape *shape
	vals  []Value
}

// shape is a list of distinct keys in their final order; it is never changed once an Object holds it.
type shape struct {
	keys  []string
	index map[string]int // nil for short lists
}

var emptyShape = &shape{}

func newShape(keys []string) *shape {
	s := &shape{keys: keys}
	if len(keys) > indexAbove {
		s.index = make(map[string]int, len(keys))
		for i, k := range keys {
			s.index[k] = i
		}
	}
	return s
}

func (s *shape) find(key string) int {
	if s.index != nil {
		if i, ok := s.index[key]; ok {
			return i
		}
		return -1
	}
	return slices.Index(s.keys, key)
}

// Len returns the number of fields, undefined ones included.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.vals)
}

// Get returns the field of that key and whether there is one.
func (o *Object) Get(key string) (Value, bool) {
	if o == nil {
		return Undefined, false
	}
	if i := o.shape.find(key); i >= 0 {
		return o.vals[i], true
	}
	return Undefined, false
}

// Has reports whether the key is there, even with an undefined value.
func (o *Object) Has(key string) bool {
	_, ok := o.Get(key)
	return ok
}

// Keys returns the keys in order. The caller must not change them.
func (o *Object) Keys() []string {
	if o == nil {
		return nil
	}
	return o.shape.keys
}

// All yields the fields in order.
func (o *Object) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if o == nil {
			return
		}
		for i, k := range o.shape.keys {
			if !yield(k, o.vals[i]) {
				return
			}
		}
	}
}

// With returns a copy in which key has the value v; a key that was there keeps its place.
func (o *Object) With(key string, v Value) *Object {
	b := o.edit()
	b.Set(key, v)
	return b.Object()
}

// Without returns a copy that lacks the key.
func (o *Object) Without(key string) *Object {
	var b Builder
	for k, v := range o.All() {
		if k != key {
			b.Set(k, v)
		}
	}
	return b.Object()
}

func (o *Object) edit() *Builder {
	b := new(Builder)
	for k, v := range o.All() {
		b.Set(k, v)
	}
	return b
}

// Field is one key and its value, for [Record].
type Field struct {
	Key   string
	Value Value
}

// F makes a [Field].
func F(key string, v Value) Field { return Field{key, v} }

// Record returns the object of these fields; of two with one key the last counts.
func Record(fields ...Field) Value {
	b := Builder{keys: make([]string, 0, len(fields)), vals: make([]Value, 0, len(fields))}
	for _, f := range fields {
		b.Set(f.Key, f.Value)
	}
	return b.Value()
}

// Builder collects the fields of an object. The zero Builder is empty. It must not be used after Object or Value was called.
type Builder struct {
	keys    []string
	vals    []Value
	index   map[string]int
	indices bool // an array-index key was added, so the order may have to be mended
}

// Set adds a field, or replaces the value of one that is there.
func (b *Builder) Set(key string, v Value) {
	if i := b.find(key); i >= 0 {
		b.vals[i] = v
		return
	}
	if b.index != nil {
		b.index[key] = len(b.keys)
	}
	if !b.indices {
		_, b.indices = arrayIndex(key)
	}
	b.keys = append(b.keys, key)
	b.vals = append(b.vals, v)
}

func (b *Builder) find(key string) int {
	if b.index == nil && len(b.keys) > indexAbove {
		b.index = make(map[string]int, 2*len(b.keys))
		for i, k := range b.keys {
			b.index[k] = i
		}
	}
	if b.index != nil {
		if i, ok := b.index[key]; ok {
			return i
		}
		return -1
	}
	return slices.Index(b.keys, key)
}

// Len returns the number of fields so far.
func (b *Builder) Len() int { return len(b.keys) }

// Object returns what was collected.
func (b *Builder) Object() *Object {
	if len(b.keys) == 0 {
		return &Object{shape: emptyShape}
	}
	if b.indices {
		b.order()
	}
	return &Object{shape: newShape(b.keys), vals: b.vals}
}

// Value returns what was collected as a Value.
func (b *Builder) Value() Value { return FromObject(b.Object()) }

// order moves array-index keys to the front, ascending.
func (b *Builder) order() {
	at := make([]int, len(b.keys))
	for i := range at {
		at[i] = i
	}
	rank := func(key string) uint64 {
		if n, ok := arrayIndex(key); ok {
			return uint64(n)
		}
		return 1 << 33
	}
	slices.SortStableFunc(at, func(i, j int) int {
		a, b := rank(b.keys[i]), rank(b.keys[j])
		return int(min(max(int64(a)-int64(b), -1), 1))
	})
	keys, vals := make([]string, len(at)), make([]Value, len(at))
	for to, from := range at {
		keys[to], vals[to] = b.keys[from], b.vals[from]
	}
	b.keys, b.vals = keys, vals
}

// arrayIndex tells whether key is the canonical text of an array index: 0 to 2^32-2 without sign or leading zero.
func arrayIndex(key string) (uint32, bool) {
	if key == "" || len(key) > 10 || key[0] < '0' || key[0] > '9' || (key[0] == '0' && len(key) > 1) {
		return 0, false
	}
	n, err := strconv.ParseUint(key, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
