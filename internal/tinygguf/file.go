package tinygguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Value types of GGUF's metadata that a model needs, by ggml's numbers.
const (
	kvUint32  uint32 = 4
	kvInt32   uint32 = 5
	kvFloat32 uint32 = 6
	kvBool    uint32 = 7
	kvString  uint32 = 8
	kvArray   uint32 = 9
)

const alignment = 32 // GGUF's default, of each tensor's data

// file is a GGUF v3 file being put together: metadata, then tensors.
type file struct {
	meta    bytes.Buffer
	keys    uint64
	tensors []tensor
}

type tensor struct {
	name  string
	shape []uint64 // fastest-varying first, as ggml counts
	typ   Type
	data  []byte
	count int // numbers
}

// put writes a fixed-size value, or a slice of them, little-endian.
func put(w *bytes.Buffer, v any) {
	if err := binary.Write(w, binary.LittleEndian, v); err != nil {
		panic(err) // a bytes.Buffer takes everything: v has no fixed size
	}
}

func putString(w *bytes.Buffer, s string) {
	put(w, uint64(len(s)))
	w.WriteString(s)
}

// set adds one key. It panics on a value of a type that models do not need.
func (f *file) set(key string, value any) {
	f.keys++
	w := &f.meta
	putString(w, key)
	switch v := value.(type) {
	case string:
		put(w, kvString)
		putString(w, v)
	case int:
		put(w, kvUint32)
		put(w, uint32(v))
	case float32:
		put(w, kvFloat32)
		put(w, v)
	case bool:
		put(w, kvBool)
		put(w, v)
	case []string:
		f.arrayHead(kvString, len(v))
		for _, s := range v {
			putString(w, s)
		}
	case []float32:
		f.arrayHead(kvFloat32, len(v))
		put(w, v)
	case []int32:
		f.arrayHead(kvInt32, len(v))
		put(w, v)
	default:
		panic(fmt.Sprintf("tinygguf: key %s has a value of type %T", key, value))
	}
}

func (f *file) arrayHead(element uint32, n int) {
	put(&f.meta, kvArray)
	put(&f.meta, element)
	put(&f.meta, uint64(n))
}

// add appends a tensor of the given shape, fastest-varying dimension first.
func (f *file) add(name string, typ Type, data []float32, shape ...int) {
	n, dims := 1, make([]uint64, len(shape))
	for i, d := range shape {
		n *= d
		dims[i] = uint64(d)
	}
	if len(data) != n {
		panic(fmt.Sprintf("tinygguf: tensor %s has %d numbers for shape %v", name, len(data), shape))
	}
	f.tensors = append(f.tensors, tensor{name, dims, typ, encode(typ, data), n})
}

func encode(typ Type, data []float32) []byte {
	var b bytes.Buffer
	switch typ {
	case F32:
		put(&b, data)
	case F16:
		halves := make([]uint16, len(data))
		for i, x := range data {
			halves[i] = half(x)
		}
		put(&b, halves)
	case Q8_0:
		return q8(data)
	}
	return b.Bytes()
}

func padTo(b *bytes.Buffer) {
	b.Write(make([]byte, (alignment-b.Len()%alignment)%alignment))
}

// bytes lays the file out: magic, version, counts, metadata, tensor table, data.
func (f *file) bytes() []byte {
	var out, data bytes.Buffer
	out.WriteString("GGUF")
	put(&out, uint32(3))
	put(&out, uint64(len(f.tensors)))
	put(&out, f.keys)
	out.Write(f.meta.Bytes())
	for _, t := range f.tensors {
		putString(&out, t.name)
		put(&out, uint32(len(t.shape)))
		put(&out, t.shape)
		put(&out, uint32(t.typ))
		put(&out, uint64(data.Len()))
		data.Write(t.data)
		padTo(&data)
	}
	padTo(&out)
	out.Write(data.Bytes())
	return out.Bytes()
}
