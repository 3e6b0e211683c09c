package gguf

import "math"

// The functions in this file are what every processor can do; dot_amd64.go has
// faster ones, which tests hold against these.

// dotGo is the product of two vectors of one length. Eight sums run side by side, so
// that the processor need not wait for one addition before the next.
func dotGo(a, b []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	b = b[:len(a)]
	for len(a) >= 8 && len(b) >= 8 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		s4 += a[4] * b[4]
		s5 += a[5] * b[5]
		s6 += a[6] * b[6]
		s7 += a[7] * b[7]
		a, b = a[8:], b[8:]
	}
	for i, x := range a {
		s0 += x * b[i]
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}

// dotHalfGo is the product of a vector in half precision and one in single.
func dotHalfGo(a []uint16, b []float32) float32 {
	var s0, s1 float32
	b = b[:len(a)]
	for len(a) >= 2 && len(b) >= 2 {
		s0 += fromHalf(a[0]) * b[0]
		s1 += fromHalf(a[1]) * b[1]
		a, b = a[2:], b[2:]
	}
	for i, h := range a {
		s0 += fromHalf(h) * b[i]
	}
	return s0 + s1
}

// dotQ8Go is the product of two Q8_0 vectors of as many blocks as there are scales.
func dotQ8Go(a, b []int8, scaleA, scaleB []float32) float32 {
	var sum float32
	for i, scale := range scaleA {
		sum += scale * scaleB[i] * float32(dotBlock((*[q8Block]int8)(a[i*q8Block:]), (*[q8Block]int8)(b[i*q8Block:])))
	}
	return sum
}

func dotBlock(a, b *[q8Block]int8) int32 {
	var s0, s1, s2, s3 int32
	for i := 0; i < q8Block; i += 4 {
		s0 += int32(a[i]) * int32(b[i])
		s1 += int32(a[i+1]) * int32(b[i+1])
		s2 += int32(a[i+2]) * int32(b[i+2])
		s3 += int32(a[i+3]) * int32(b[i+3])
	}
	return (s0 + s1) + (s2 + s3)
}

// addScaledGo adds w times x to out.
func addScaledGo(out []float32, w float32, x []float32) {
	x = x[:len(out)]
	for i := range out {
		out[i] += w * x[i]
	}
}

// halfExponent is 2^112, by which the exponents of half and single precision differ.
var halfExponent = math.Float32frombits((127 + 112) << 23)

// fromHalf widens a half precision number, subnormal ones too. It takes the
// encodings of infinity and NaN, which no sane weight has, for 65536 and more.
func fromHalf(h uint16) float32 {
	f := math.Float32frombits(uint32(h&0x7fff)<<13) * halfExponent
	return math.Float32frombits(math.Float32bits(f) | uint32(h&0x8000)<<16)
}

// toHalf narrows a number that is neither negative nor above 65504, rounding to
// nearest even.
func toHalf(f float32) uint16 {
	b := math.Float32bits(f / halfExponent) // subnormal halves fall into place
	b += 0xfff + b>>13&1
	return uint16(b >> 13)
}
