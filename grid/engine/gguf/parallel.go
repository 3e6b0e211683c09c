package gguf

import (
	"runtime"
	"sync"
)

// parallelWork is how many multiplications make a goroutine worth its start, which
// costs about a microsecond.
const parallelWork = 1 << 15

// parallel splits 0 to n among the processors, calls f for each part, and waits
// for all. A call costs perItem multiplications for each of the n items; little
// work is done at once on the calling goroutine.
func parallel(n, perItem int, f func(from, until int)) {
	workers := min(runtime.GOMAXPROCS(0), n, n*perItem/parallelWork)
	if workers < 2 {
		f(0, n)
		return
	}
	var group sync.WaitGroup
	for w := 1; w < workers; w++ {
		group.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	f(0, n/workers)
	group.Wait()
}

// product multiplies a batch of inputs, one after another in x, by m.
func product(m matrix, out, x []float32) {
	in := m.prepare(x)
	parallel(m.rows(), len(x), func(from, until int) { m.multiply(out, in, from, until) })
}
