package value

// valueBytes is what a Value takes itself.
const valueBytes = 24

// Size estimates the memory that v takes, in bytes: itself, its text, and all that is in it. Keys count for each object, although those of
// one list may share theirs, so the estimate is rather high.
func (v Value) Size() int64 {
	size := int64(valueBytes)
	switch v.Kind() {
	case KindString:
		size += int64(v.num)
	case KindList:
		items, _ := v.AsList()
		for _, item := range items {
			size += item.Size()
		}
	case KindObject:
		o, _ := v.AsObject()
		size += 2 * valueBytes
		for key, field := range o.All() {
			size += int64(len(key)) + field.Size()
		}
	}
	return size
}
