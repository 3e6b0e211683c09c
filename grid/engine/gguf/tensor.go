package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// tensorType is how a tensor's numbers are stored, by ggml's numbers.
type tensorType uint32

const (
	typeF32 tensorType = 0
	typeF16 tensorType = 1
	typeQ8  tensorType = 8
)

// typeNames are what ggml calls its types, so that an error can name them.
var typeNames = map[tensorType]string{
	typeF32: "F32", typeF16: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", typeQ8: "Q8_0", 9: "Q8_1",
	10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 30: "BF16",
}

func (t tensorType) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("of number %d", uint32(t))
}

const (
	q8Block = 32          // numbers that share a scale in Q8_0
	q8Bytes = 2 + q8Block // a half precision scale, then signed bytes
)

// size is the bytes that n numbers take; 0 for types that are not read.
func (t tensorType) size(n int) int64 {
	switch t {
	case typeF32:
		return int64(n) * 4
	case typeF16:
		return int64(n) * 2
	case typeQ8:
		return int64(n/q8Block) * q8Bytes
	}
	return 0
}

// loader reads tensors out of a file into the form that the forward pass uses. It
// notes which, so that a tensor that nothing uses is noticed.
type loader struct {
	file   io.ReaderAt
	header *header
	used   map[string]bool
	count  int64 // numbers read: the model's parameters
}

// vector reads a tensor of one dimension as float32.
func (l *loader) vector(name string, width int) ([]float32, error) {
	t, err := l.find(name, width)
	if err != nil {
		return nil, err
	}
	if t.typ != typeF32 {
		return nil, fmt.Errorf("tensor %s is %s, want F32", name, t.typ)
	}
	return l.readF32(name, t)
}

// matrix reads a tensor of rows of width numbers, in the type it has in the file.
func (l *loader) matrix(name string, width, rows int) (matrix, error) {
	t, err := l.find(name, width, rows)
	if err != nil {
		return nil, err
	}
	switch t.typ {
	case typeF32:
		data, err := l.readF32(name, t)
		return &matrixF32{width, rows, data}, err
	case typeF16:
		data, err := l.readF16(name, t)
		return &matrixF16{width, rows, data}, err
	case typeQ8:
		if width%q8Block != 0 {
			return nil, fmt.Errorf("tensor %s is Q8_0 with rows of %d numbers, not a multiple of %d", name, width, q8Block)
		}
		return l.readQ8(name, t)
	}
	return nil, fmt.Errorf("tensor %s is %s: the embedded engine reads F32, F16 and Q8_0 only; serve the file with llama-server, or get the model as Q8_0", name, t.typ)
}

func (l *loader) has(name string) bool {
	_, ok := l.header.tensors[name]
	return ok
}

func (l *loader) find(name string, shape ...int) (tensorInfo, error) {
	t, ok := l.header.tensors[name]
	if !ok {
		return t, fmt.Errorf("tensor %s is missing", name)
	}
	for i, want := range shape {
		if len(t.shape) != len(shape) || t.shape[i] != want {
			return t, fmt.Errorf("tensor %s has the shape %v, want %v", name, t.shape, shape)
		}
	}
	l.used[name] = true
	l.count += int64(t.numbers())
	return t, nil
}

func (l *loader) readF32(name string, t tensorInfo) ([]float32, error) {
	out := make([]float32, 0, t.numbers())
	err := l.chunks(name, t, 4, func(b []byte) {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	})
	return out, err
}

func (l *loader) readF16(name string, t tensorInfo) ([]uint16, error) {
	out := make([]uint16, 0, t.numbers())
	err := l.chunks(name, t, 2, func(b []byte) {
		out = append(out, binary.LittleEndian.Uint16(b))
	})
	return out, err
}

func (l *loader) readQ8(name string, t tensorInfo) (*matrixQ8, error) {
	n := t.numbers()
	m := &matrixQ8{
		columns: t.shape[0], height: t.shape[1],
		quants: make([]int8, 0, n), scales: make([]float32, 0, n/q8Block),
	}
	err := l.chunks(name, t, q8Bytes, func(b []byte) {
		m.scales = append(m.scales, fromHalf(binary.LittleEndian.Uint16(b)))
		for _, q := range b[2:] {
			m.quants = append(m.quants, int8(q))
		}
	})
	return m, err
}

// chunks calls f with each piece of size bytes of a tensor's data.
func (l *loader) chunks(name string, t tensorInfo, size int, f func([]byte)) error {
	section := io.NewSectionReader(l.file, l.header.data+t.offset, t.typ.size(t.numbers()))
	buffer := make([]byte, 2048*size)
	for {
		n, err := io.ReadFull(section, buffer)
		for b := buffer[:n]; len(b) >= size; b = b[size:] {
			f(b[:size])
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil // the header's check ensured that all of it is in the file
		default:
			return fmt.Errorf("reading tensor %s: %w", name, err)
		}
	}
}
