package value

// valueBytes is what a Value takes itself.
const valueBytes = 24

// Size estimates the memory that v takes, in bytes: itself, its text, and all that is in it. Keys of objects are counted for none of them,
// because objects of one list share theirs.
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
		for _, field := range o.All() {
			size += field.Size()
		}
	}
	return size
}
