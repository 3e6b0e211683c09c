package value

import (
	"math"
	"slices"
	"strings"
)

// Text is JavaScript's String(v): lists are joined by commas, objects are "[object Object]".
func Text(v Value) string {
	switch v.Kind() {
	case KindUndefined:
		return "undefined"
	case KindNull:
		return "null"
	case KindBool:
		if v.num == 1 {
			return "true"
		}
		return "false"
	case KindNumber:
		return FormatNumber(math.Float64frombits(v.num))
	case KindString:
		s, _ := v.AsString()
		return s
	case KindList:
		return Join(v, ",")
	}
	return "[object Object]"
}

// Join is JavaScript's v.join(sep) of a list: null and undefined items are empty.
func Join(v Value, sep string) string {
	items, _ := v.AsList()
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(sep)
		}
		if !item.IsNullish() {
			b.WriteString(Text(item))
		}
	}
	return b.String()
}

// ToNumber is JavaScript's Number(v).
func ToNumber(v Value) float64 {
	switch v.Kind() {
	case KindNull:
		return 0
	case KindBool:
		return float64(v.num)
	case KindNumber:
		return math.Float64frombits(v.num)
	case KindString, KindList, KindObject:
		return ParseNumber(Text(v))
	}
	return math.NaN()
}

// LooseEqual is JavaScript's a == b, except that two different lists or objects are never equal and one is equal to itself only.
func LooseEqual(a, b Value) bool {
	ka, kb := a.Kind(), b.Kind()
	switch {
	case ka <= KindNull || kb <= KindNull:
		return ka <= KindNull && kb <= KindNull
	case ka >= KindList && kb >= KindList:
		return a.num == b.num && a.ref == b.ref
	case ka >= KindList:
		return LooseEqual(String(Text(a)), b)
	case kb >= KindList:
		return LooseEqual(a, String(Text(b)))
	case ka == KindString && kb == KindString:
		return Text(a) == Text(b)
	}
	return ToNumber(a) == ToNumber(b)
}

// Order is JavaScript's relational comparison of a and b: -1, 0 or 1, and false if neither is less, greater or equal (NaN).
func Order(a, b Value) (int, bool) {
	a, b = primitive(a), primitive(b)
	if a.Kind() == KindString && b.Kind() == KindString {
		return Compare16(Text(a), Text(b)), true
	}
	x, y := ToNumber(a), ToNumber(b)
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, x == y
}

func primitive(v Value) Value {
	if v.Kind() >= KindList {
		return String(Text(v))
	}
	return v
}

// Same is deep equality without conversion: 1 is not "1", undefined is not null, NaN is itself, and two objects are equal when
// they hold the same fields in any order.
func Same(a, b Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case KindBool:
		return a.num == b.num
	case KindNumber:
		x, y := ToNumber(a), ToNumber(b)
		return x == y || (math.IsNaN(x) && math.IsNaN(y))
	case KindString:
		return Text(a) == Text(b)
	case KindList:
		x, _ := a.AsList()
		y, _ := b.AsList()
		return slices.EqualFunc(x, y, Same)
	case KindObject:
		return sameObject(a, b)
	}
	return true
}

func sameObject(a, b Value) bool {
	x, _ := a.AsObject()
	y, _ := b.AsObject()
	if x.Len() != y.Len() {
		return false
	}
	for k, v := range x.All() {
		if w, ok := y.Get(k); !ok || !Same(v, w) {
			return false
		}
	}
	return true
}

// FromAny turns what encoding/json, YAML readers and gojq produce into a Value. Unknown types become their nearest JSON kind or
// Undefined.
func FromAny(x any) Value {
	switch x := x.(type) {
	case nil:
		return Null
	case Value:
		return x
	case bool:
		return Bool(x)
	case int:
		return Int(x)
	case int64:
		return Number(float64(x))
	case uint64:
		return Number(float64(x))
	case float64:
		return Number(x)
	case string:
		return String(Clean(x))
	case []string:
		return Strings(x)
	case []any:
		vs := make([]Value, len(x))
		for i, e := range x {
			vs[i] = FromAny(e)
		}
		return List(vs...)
	case map[string]any:
		var b Builder
		for _, k := range sortedKeys(x) {
			b.Set(Clean(k), FromAny(x[k]))
		}
		return b.Value()
	case interface{ Float64() (float64, error) }: // json.Number
		f, _ := x.Float64()
		return Number(f)
	}
	return Undefined
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Compare16)
	return keys
}

// ToAny turns v into what encoding/json would have made of it: nil, bool, float64, string, []any and map[string]any. Undefined
// fields vanish and undefined items are nil.
func ToAny(v Value) any {
	switch v.Kind() {
	case KindBool:
		return v.num == 1
	case KindNumber:
		return math.Float64frombits(v.num)
	case KindString:
		return Text(v)
	case KindList:
		items, _ := v.AsList()
		out := make([]any, len(items))
		for i, item := range items {
			out[i] = ToAny(item)
		}
		return out
	case KindObject:
		o, _ := v.AsObject()
		out := make(map[string]any, o.Len())
		for k, f := range o.All() {
			if !f.IsUndefined() {
				out[k] = ToAny(f)
			}
		}
		return out
	}
	return nil
}
