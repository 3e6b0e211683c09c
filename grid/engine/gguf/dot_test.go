package gguf

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The fast functions of this processor give what the plain ones do.
func TestDotProductsAgree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		a, b, out := make([]float32, n), make([]float32, n), make([]float32, n)
		half := make([]uint16, n)
		sum, sumHalf, size := 0.0, 0.0, 1e-9
		for i := range n {
			a[i], b[i], out[i] = float32(random.NormFloat64()), float32(random.NormFloat64()), float32(random.NormFloat64())
			half[i] = uint16(random.UintN(0x7c00)) | uint16(random.UintN(2))<<15
			sum += float64(a[i]) * float64(b[i])
			sumHalf += float64(fromHalf(half[i])) * float64(b[i])
			size += math.Abs(float64(fromHalf(half[i])*b[i])) + math.Abs(float64(a[i]*b[i]))
		}
		for name, got := range map[string]float32{"dot": dot(a, b), "dotGo": dotGo(a, b)} {
			if math.Abs(float64(got)-sum) > 1e-6*size {
				t.Errorf("%s of %d numbers is %g, want %g", name, n, got, sum)
			}
		}
		for name, got := range map[string]float32{"dotHalf": dotHalf(half, b), "dotHalfGo": dotHalfGo(half, b)} {
			if math.Abs(float64(got)-sumHalf) > 1e-6*size {
				t.Errorf("%s of %d numbers is %g, want %g", name, n, got, sumHalf)
			}
		}
		plain, fast := append([]float32(nil), out...), append([]float32(nil), out...)
		addScaledGo(plain, 0.3, a)
		addScaled(fast, 0.3, a)
		for i := range plain {
			if math.Abs(float64(plain[i]-fast[i])) > 1e-6 {
				t.Fatalf("addScaled of %d numbers gives %g at %d, want %g", n, fast[i], i, plain[i])
			}
		}
	}
}

func TestQ8ProductsAgree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for blocks := range 12 {
		a, b := make([]int8, blocks*q8Block), make([]int8, blocks*q8Block)
		scaleA, scaleB := make([]float32, blocks), make([]float32, blocks)
		want := 0.0
		for i := range a {
			a[i], b[i] = int8(random.IntN(256)-128), int8(random.IntN(256)-128)
			scaleA[i/q8Block], scaleB[i/q8Block] = 0.5/float32(1+i/q8Block), 0.25
		}
		for i := range a {
			want += float64(a[i]) * float64(b[i]) * float64(scaleA[i/q8Block]*scaleB[i/q8Block])
		}
		for name, got := range map[string]float32{"dotQ8": dotQ8(a, b, scaleA, scaleB), "dotQ8Go": dotQ8Go(a, b, scaleA, scaleB)} {
			if math.Abs(float64(got)-want) > 1e-2 {
				t.Errorf("%s of %d blocks is %g, want %g", name, blocks, got, want)
			}
		}
	}
}

func TestHalfPrecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		half uint16
		want float64
	}{
		{0, 0}, {0x3c00, 1}, {0xc000, -2}, {0x3555, 0.333251953125}, {0x7bff, 65504},
		{1, math.Ldexp(1, -24)}, {0x3ff, math.Ldexp(1023, -24)}, {0x400, math.Ldexp(1, -14)},
	}
	for _, test := range tests {
		if got := float64(fromHalf(test.half)); got != test.want {
			t.Errorf("fromHalf(%#x) = %v, want %v", test.half, got, test.want)
		}
	}
	for h := range uint16(0x7c00) {
		if got := toHalf(fromHalf(h)); got != h {
			t.Fatalf("toHalf(fromHalf(%#x)) = %#x", h, got)
		}
	}
	if got := toHalf(1 + 1.0/2048); got != 0x3c00 { // a tie goes to the even one
		t.Errorf("toHalf(1+1/2048) = %#x, want 0x3c00", got)
	}
}
