package jobs

import (
	"context"
	"sync"
	"testing"

	"lobstah/grid"
	"lobstah/openai"
)

// BenchmarkJobs is what keeping a job costs, from submission to result and
// receipt, each step on the disk, with an engine that takes no time.
func BenchmarkJobs(b *testing.B) {
	for _, slots := range []int{1, 16} {
		b.Run(map[int]string{1: "one at a time", 16: "16 at a time"}[slots], func(b *testing.B) {
			done := make(chan struct{}, slots)
			s := newShop(b, func(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
				fault, again := answers(ctx, o, log)
				done <- struct{}{}
				return fault, again
			}, func(c *Config) { c.Quota = Quota{Open: 1 << 30, Bytes: 1 << 40, All: 1 << 30} })
			defer s.close()
			s.backend.slots = make(chan struct{}, slots)
			s.running(func() {
				b.ResetTimer()
				var submits sync.WaitGroup
				for n := range slots {
					submits.Go(func() {
						for i := n; i < b.N; i += slots {
							s.submit(ann, "m")
						}
					})
				}
				for range b.N {
					<-done
				}
				b.StopTimer()
				submits.Wait()
			})
		})
	}
}

// BenchmarkLookUp is what a poll costs among many jobs.
func BenchmarkLookUp(b *testing.B) {
	s := newShop(b, answers, nil)
	defer s.close()
	var id string
	for range 2000 {
		id = s.submit(ann, "m")
	}
	s.Quota = Quota{}
	for b.Loop() {
		if status, _ := s.get(ann, id); status != 200 {
			b.Fatal(status)
		}
	}
}
