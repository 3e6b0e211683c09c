//go:build !amd64

package gguf

func dot(a, b []float32) float32 { return dotGo(a, b) }

func dotHalf(a []uint16, b []float32) float32 { return dotHalfGo(a, b) }

func dotQ8(a, b []int8, scaleA, scaleB []float32) float32 { return dotQ8Go(a, b, scaleA, scaleB) }

func addScaled(out []float32, w float32, x []float32) { addScaledGo(out, w, x) }
