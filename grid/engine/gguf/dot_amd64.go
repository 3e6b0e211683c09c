package gguf

import "golang.org/x/sys/cpu"

// vectors says that the processor has AVX2 and FMA, and so F16C, which is older.
var vectors = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// The functions in dot_amd64.s take the n first numbers, a multiple of 8.

//go:noescape
func dotAVX2(a, b *float32, n int) float32

//go:noescape
func dotHalfAVX2(a *uint16, b *float32, n int) float32

//go:noescape
func dotQ8AVX2(a, b *int8, scaleA, scaleB *float32, blocks int) float32

//go:noescape
func addScaledAVX2(out, x *float32, n int, w float32)

// dot is the product of two vectors of one length.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	if !vectors || len(a) < 8 {
		return dotGo(a, b)
	}
	n := len(a) &^ 7
	return dotAVX2(&a[0], &b[0], n) + dotGo(a[n:], b[n:])
}

// dotHalf is the product of a vector in half precision and one in single.
func dotHalf(a []uint16, b []float32) float32 {
	b = b[:len(a)]
	if !vectors || len(a) < 8 {
		return dotHalfGo(a, b)
	}
	n := len(a) &^ 7
	return dotHalfAVX2(&a[0], &b[0], n) + dotHalfGo(a[n:], b[n:])
}

// dotQ8 is the product of two Q8_0 vectors of as many blocks as there are scales.
func dotQ8(a, b []int8, scaleA, scaleB []float32) float32 {
	blocks := len(scaleA)
	a, b, scaleB = a[:blocks*q8Block], b[:blocks*q8Block], scaleB[:blocks]
	if !vectors || blocks == 0 {
		return dotQ8Go(a, b, scaleA, scaleB)
	}
	return dotQ8AVX2(&a[0], &b[0], &scaleA[0], &scaleB[0], blocks)
}

// addScaled adds w times x to out.
func addScaled(out []float32, w float32, x []float32) {
	x = x[:len(out)]
	n := 0
	if vectors && len(out) >= 8 {
		n = len(out) &^ 7
		addScaledAVX2(&out[0], &x[0], n, w)
	}
	addScaledGo(out[n:], w, x[n:])
}
