package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Limits on what a file may claim, checked before anything is allocated for it.
const (
	maxHeader  = 256 << 20 // bytes; the largest vocabularies take about 10 MiB
	maxKeys    = 1 << 16
	maxTensors = 1 << 16
	maxKey     = 1<<16 - 1 // bytes of a key, by the format's specification
	maxString  = 4 << 20   // bytes of a value; chat templates have some 10 KiB
	maxArray   = 1 << 22   // elements; the largest vocabularies have 300,000
	maxName    = 64        // bytes of a tensor's name, by the specification
	maxDims    = 4
)

// header is everything of a GGUF file except the tensors' data.
type header struct {
	meta    metadata
	tensors map[string]tensorInfo
	data    int64 // offset in the file at which the tensors' offsets begin
}

// tensorInfo locates a tensor. Its data is known to lie inside the file if its
// type is one that this package reads.
type tensorInfo struct {
	typ    tensorType
	shape  []int // fastest-varying first
	offset int64 // from header.data
}

// numbers is the product of the shape, which does not overflow an int.
func (t tensorInfo) numbers() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// Types of metadata values, by the format's numbers.
const (
	valueUint8 uint32 = iota
	valueInt8
	valueUint16
	valueInt16
	valueUint32
	valueInt32
	valueFloat32
	valueBool
	valueString
	valueArray
	valueUint64
	valueInt64
	valueFloat64
)

// valueSize is the least number of bytes that a value of each type takes.
var valueSize = [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

// headerReader reads little-endian values and knows how many bytes can be left.
// The first failure sticks; values read after it are zero.
type headerReader struct {
	r    *bufio.Reader
	left int64 // bytes that the header may still take
	read int64
	err  error
}

// readHeader reads the header of a GGUF file of size bytes. The input is hostile.
func readHeader(file io.Reader, size int64) (*header, error) {
	r := &headerReader{r: bufio.NewReaderSize(file, 1<<16), left: min(size, maxHeader)}
	r.magic()
	tensors := r.count("tensors", maxTensors, 32)
	keys := r.count("metadata keys", maxKeys, 13)
	h := &header{meta: metadata{}, tensors: map[string]tensorInfo{}}
	for range keys {
		r.pair(h.meta)
	}
	for range tensors {
		r.tensor(h.tensors)
	}
	if r.err != nil {
		return nil, fmt.Errorf("reading the GGUF header at byte %d: %w", r.read, r.err)
	}
	return h, h.place(r.read, size)
}

// place finds where the data begins and checks that every tensor lies inside.
func (h *header) place(end, size int64) error {
	alignment, err := h.meta.countOr("general.alignment", 32, 1<<20)
	if err != nil {
		return err
	}
	if alignment < 1 {
		return errors.New("general.alignment is 0: the file is damaged")
	}
	a := int64(alignment)
	h.data = (end + a - 1) / a * a
	free := size - h.data
	total := int64(0)
	for name, t := range h.tensors {
		need := t.typ.size(t.numbers())
		if t.offset%a != 0 || t.offset > free || need > free-t.offset {
			return fmt.Errorf("tensor %s lies outside of the file: the file is cut off or damaged", name)
		}
		if total += need; total > free {
			return errors.New("tensors overlap: the file is damaged")
		}
	}
	return nil
}

func (r *headerReader) magic() {
	var magic [4]byte
	r.fill(magic[:])
	version := r.uint32()
	switch {
	case r.err != nil:
	case string(magic[:]) != "GGUF":
		r.fail("this is not a GGUF file")
	case bits.ReverseBytes32(version) == 3:
		r.fail("the file is big-endian; convert it to little-endian")
	case version != 2 && version != 3:
		r.fail("GGUF version %d is not supported, only 2 and 3; convert the model again", version)
	}
}

func (r *headerReader) pair(meta metadata) {
	key := r.string(maxKey)
	value := r.value(r.uint32())
	if r.err != nil {
		return
	}
	if _, twice := meta[key]; twice {
		r.fail("metadata key %q occurs twice", key)
		return
	}
	meta[key] = value
}

func (r *headerReader) tensor(tensors map[string]tensorInfo) {
	name := r.string(maxName)
	dims := r.uint32()
	if dims < 1 || dims > maxDims {
		r.fail("tensor %q has %d dimensions, want 1 to %d", name, dims, maxDims)
		return
	}
	t := tensorInfo{shape: make([]int, dims)}
	numbers := uint64(1)
	for i := range t.shape {
		d := r.uint64()
		high, low := bits.Mul64(numbers, d)
		if r.err == nil && (d == 0 || high != 0 || low > math.MaxInt64/8) {
			r.fail("tensor %q has an impossible shape", name)
			return
		}
		numbers, t.shape[i] = low, int(d)
	}
	t.typ = tensorType(r.uint32())
	offset := r.uint64()
	if offset > math.MaxInt64 {
		r.fail("tensor %q lies outside of the file", name)
		return
	}
	t.offset = int64(offset)
	if _, twice := tensors[name]; twice {
		r.fail("tensor %q occurs twice", name)
		return
	}
	tensors[name] = t
}

// value reads one metadata value as uint64, int64, float64, bool, string,
// []string or []float64.
func (r *headerReader) value(typ uint32) any {
	switch typ {
	case valueString:
		return r.string(maxString)
	case valueBool:
		return r.uint8() != 0
	case valueArray:
		return r.array()
	}
	return r.number(typ)
}

// number reads a scalar as uint64, int64 or float64.
func (r *headerReader) number(typ uint32) any {
	switch typ {
	case valueUint8, valueBool:
		return uint64(r.uint8())
	case valueInt8:
		return int64(int8(r.uint8()))
	case valueUint16:
		return uint64(r.uint16())
	case valueInt16:
		return int64(int16(r.uint16()))
	case valueUint32:
		return uint64(r.uint32())
	case valueInt32:
		return int64(int32(r.uint32()))
	case valueUint64:
		return r.uint64()
	case valueInt64:
		return int64(r.uint64())
	case valueFloat32:
		return float64(math.Float32frombits(r.uint32()))
	case valueFloat64:
		return math.Float64frombits(r.uint64())
	}
	r.fail("metadata has a value of unknown type %d", typ)
	return nil
}

func (r *headerReader) array() any {
	typ := r.uint32()
	if r.err == nil && (int(typ) >= len(valueSize) || typ == valueArray) {
		r.fail("metadata has an array of unsupported type %d", typ)
	}
	if r.err != nil {
		return nil
	}
	n := r.count("elements of an array", maxArray, valueSize[typ])
	if typ == valueString {
		out := make([]string, n)
		for i := range out {
			out[i] = r.string(maxString)
		}
		return out
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = toFloat(r.number(typ))
	}
	return out
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// count reads how many things follow, each of at least size bytes.
func (r *headerReader) count(what string, most, size int64) int {
	n := r.uint64()
	if r.err == nil && n > uint64(min(most, r.left/size)) {
		r.fail("the file claims %d %s, more than it can hold or than the limit of %d", n, what, most)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *headerReader) string(most int64) string {
	n := r.uint64()
	if r.err == nil && n > uint64(min(most, r.left)) {
		r.fail("the file claims a string of %d bytes, more than it can hold or than the limit of %d", n, most)
	}
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	r.fill(b)
	return string(b)
}

func (r *headerReader) uint8() uint8 {
	var b [1]byte
	r.fill(b[:])
	return b[0]
}

func (r *headerReader) uint16() uint16 {
	var b [2]byte
	r.fill(b[:])
	return binary.LittleEndian.Uint16(b[:])
}

func (r *headerReader) uint32() uint32 {
	var b [4]byte
	r.fill(b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func (r *headerReader) uint64() uint64 {
	var b [8]byte
	r.fill(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (r *headerReader) fill(b []byte) {
	if r.err != nil {
		return
	}
	if int64(len(b)) > r.left {
		r.err = errors.New("the file is cut off, or its header is larger than 256 MiB")
		return
	}
	n, err := io.ReadFull(r.r, b)
	r.left -= int64(n)
	r.read += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file is cut off")
	}
	r.err = err
}

func (r *headerReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}
