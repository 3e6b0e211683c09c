package gguf

import "math"

// matrix is a weight matrix that stays in the type of its file. Rows make
// outputs, columns take inputs.
type matrix interface {
	rows() int
	// row writes row i into dst as float32.
	row(i int, dst []float32)
	// prepare converts a batch of inputs, one after another in x, once for all rows.
	prepare(x []float32) input
	// multiply computes rows from to until (exclusive) for each input of the batch,
	// out[b*rows()+i] for row i and input b.
	multiply(out []float32, x input, from, until int)
	// typ is the type in the file.
	typ() tensorType
}

// input is a batch of vectors: as they are, and for Q8_0 as bytes with scales.
type input struct {
	data   []float32
	quants []int8
	scales []float32
}

// matrixF32 holds full precision numbers.
type matrixF32 struct {
	columns, height int
	data            []float32
}

func (m *matrixF32) rows() int                 { return m.height }
func (m *matrixF32) typ() tensorType           { return typeF32 }
func (m *matrixF32) prepare(x []float32) input { return input{data: x} }

func (m *matrixF32) row(i int, dst []float32) {
	copy(dst, m.data[i*m.columns:(i+1)*m.columns])
}

func (m *matrixF32) multiply(out []float32, x input, from, until int) {
	for i := from; i < until; i++ {
		w := m.data[i*m.columns : (i+1)*m.columns]
		for b, at := 0, i; b < len(x.data); b, at = b+m.columns, at+m.height {
			out[at] = dot(w, x.data[b:b+m.columns])
		}
	}
}

// matrixF16 holds half precision numbers. For a batch, a row is widened once.
type matrixF16 struct {
	columns, height int
	data            []uint16
}

func (m *matrixF16) rows() int                 { return m.height }
func (m *matrixF16) typ() tensorType           { return typeF16 }
func (m *matrixF16) prepare(x []float32) input { return input{data: x} }

func (m *matrixF16) row(i int, dst []float32) {
	for j, h := range m.data[i*m.columns : (i+1)*m.columns] {
		dst[j] = fromHalf(h)
	}
}

func (m *matrixF16) multiply(out []float32, x input, from, until int) {
	if len(x.data) == m.columns {
		for i := from; i < until; i++ {
			out[i] = dotHalf(m.data[i*m.columns:(i+1)*m.columns], x.data)
		}
		return
	}
	wide := make([]float32, m.columns)
	for i := from; i < until; i++ {
		m.row(i, wide)
		for b, at := 0, i; b < len(x.data); b, at = b+m.columns, at+m.height {
			out[at] = dot(wide, x.data[b:b+m.columns])
		}
	}
}

// matrixQ8 holds bytes, 32 to a scale. Inputs become bytes too, as in ggml, so a
// product is of whole numbers and no row is ever widened.
type matrixQ8 struct {
	columns, height int
	quants          []int8
	scales          []float32
}

func (m *matrixQ8) rows() int       { return m.height }
func (m *matrixQ8) typ() tensorType { return typeQ8 }

func (m *matrixQ8) row(i int, dst []float32) {
	quants := m.quants[i*m.columns : (i+1)*m.columns]
	scales := m.scales[i*m.columns/q8Block:]
	for j, q := range quants {
		dst[j] = float32(q) * scales[j/q8Block]
	}
}

func (m *matrixQ8) prepare(x []float32) input {
	in := input{data: x, quants: make([]int8, len(x)), scales: make([]float32, len(x)/q8Block)}
	for b := range in.scales {
		in.scales[b] = quantize(x[b*q8Block:(b+1)*q8Block], in.quants[b*q8Block:])
	}
	return in
}

// quantize writes a block as bytes and returns their scale, rounded to half
// precision as ggml stores it.
func quantize(x []float32, quants []int8) float32 {
	peak := float32(0)
	for _, f := range x {
		peak = max(peak, float32(math.Abs(float64(f))))
	}
	if peak == 0 || math.IsInf(float64(peak), 0) || peak != peak {
		return peak // zeros, or a broken model: the scale carries the infinity on
	}
	inverse := 127 / peak
	for j, f := range x {
		quants[j] = int8(math.RoundToEven(float64(f * inverse)))
	}
	return fromHalf(toHalf(peak / 127))
}

func (m *matrixQ8) multiply(out []float32, x input, from, until int) {
	blocks := m.columns / q8Block
	for i := from; i < until; i++ {
		quants := m.quants[i*m.columns : (i+1)*m.columns]
		scales := m.scales[i*blocks : (i+1)*blocks]
		for b, at := 0, i; b < len(x.data)/m.columns; b, at = b+1, at+m.height {
			out[at] = dotQ8(quants, x.quants[b*m.columns:(b+1)*m.columns], scales, x.scales[b*blocks:(b+1)*blocks])
		}
	}
}
