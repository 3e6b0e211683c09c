package main

import (
	"context"
	"database/sql"
	"maps"
	"net/http"

	"lobstah/grid"
	"lobstah/grid/jobs"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// jobBook is the ledger's file as the jobs see it.
type jobBook struct{ *sqlite.Ledger }

func (b jobBook) Earn(ctx context.Context, s *receipt.Signed, change func(context.Context, *sql.Conn) error) error {
	return b.AppendWith(ctx, ledger.Worker, s, change)
}

// keepJobs makes the jobs of a side. They get their backend before they serve.
func (p *process) keepJobs(side jobs.Side, tier grid.Tier, part string) *jobs.Service {
	return jobs.New(jobs.Config{
		Side: side, Database: jobBook{p.book}, Tier: tier, Holder: p.run, Logger: p.log.With("part", part),
	})
}

// served is the worker with its jobs, nil without one.
func (p *process) served() http.Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving
}

// withJobs adds the router's jobs to its pages.
func withJobs(s *jobs.Service, pages map[string]http.Handler) map[string]http.Handler {
	all := map[string]http.Handler{jobs.Path: s, jobs.Path + "/": s}
	maps.Copy(all, pages)
	return all
}

// jobReports counts the jobs of the router and of the worker, nil without one.
func (p *process) jobReports(ctx context.Context) (ours, lent *grid.JobCounts) {
	p.mu.Lock()
	services := [2]*jobs.Service{p.ours, p.lent}
	p.mu.Unlock()
	var counts [2]*grid.JobCounts
	for i, s := range services {
		if s == nil {
			continue
		}
		c, err := s.Counts(ctx)
		if err != nil {
			p.log.Error("cannot count jobs", "err", err)
			continue
		}
		counts[i] = &c
	}
	return counts[0], counts[1]
}
