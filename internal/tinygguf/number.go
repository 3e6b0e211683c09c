package tinygguf

import "math"

const q8Block = 32 // numbers that share one scale in Q8_0

// half converts to IEEE half precision, rounding to nearest even.
func half(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	exp := int32(bits>>23&0xff) - 127 + 15
	man := bits & 0x7fffff
	switch {
	case exp >= 31:
		return sign | 0x7c00
	case exp < -10:
		return sign
	case exp <= 0:
		man |= 0x800000
		shift := uint32(14 - exp)
		return sign | roundEven(man, shift)
	}
	return sign | (uint16(exp)<<10 + roundEven(man, 13))
}

// roundEven is man >> shift, rounded to nearest, ties to even. A carry out of
// the mantissa runs into the exponent, as it should.
func roundEven(man, shift uint32) uint16 {
	h, rest, tie := uint16(man>>shift), man&(1<<shift-1), uint32(1)<<(shift-1)
	if rest > tie || rest == tie && h&1 == 1 {
		h++
	}
	return h
}

// q8 packs rows of a multiple of 32 numbers as Q8_0: for each 32, a half
// precision scale and 32 signed bytes.
func q8(data []float32) []byte {
	out := make([]byte, 0, len(data)/q8Block*(q8Block+2))
	for ; len(data) > 0; data = data[q8Block:] {
		var peak float32
		for _, f := range data[:q8Block] {
			peak = max(peak, float32(math.Abs(float64(f))))
		}
		scale, inverse := peak/127, float32(0)
		if scale != 0 {
			inverse = 1 / scale
		}
		h := half(scale)
		out = append(out, byte(h), byte(h>>8))
		for _, f := range data[:q8Block] {
			out = append(out, byte(int8(math.Round(float64(f*inverse)))))
		}
	}
	return out
}
