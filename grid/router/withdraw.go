package router

import (
	"context"
	"errors"
	"net/http"

	"lobstah/grid"
	"lobstah/openai"
)

// abandon ends a job whose context has ended: because it was cancelled, its time
// is over, or the router stops.
func (f *follower) abandon(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, grid.ErrJobCancelled) && !errors.Is(cause, grid.ErrJobOverdue) {
		return &ending{fault: drainingError(), again: true} // its peer goes on
	}
	over := &ending{fault: &openai.Error{Type: "cancelled", Message: "cancelled before it was answered"}}
	if errors.Is(cause, grid.ErrJobOverdue) {
		over.fault = &openai.Error{Status: http.StatusGatewayTimeout, Type: "expired", Message: "no peer answered within the time that jobs are kept for"}
	}
	if f.place.Peer.IsZero() || len(f.place.Proofs) == 0 {
		return over
	}
	p := f.peer()
	if p == nil {
		return later(peerPause, "the peer %s, which has the job, is not among the peers any more", f.place.Peer.Short())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobPatience/2)
	defer cancel()
	if err := f.withdraw(ctx, p); !errors.Is(err, errNext) {
		return err
	}
	return over
}

// withdraw cancels the job at its peer. [errNext] says that nobody has it any
// more; nil, that it was answered before.
func (f *follower) withdraw(ctx context.Context, p *peer) error {
	if f.place.Remote == "" { // it may not have arrived; then it does now
		if err := f.submit(ctx, p); err != nil {
			return err
		}
	}
	said, err := f.rt.signed(ctx, p, http.MethodDelete, jobsPath+"/"+f.place.Remote, "", jobPatience/2)
	switch {
	case err != nil:
		return later(peerPause, "%s, which has the job, does not answer: %v", p.Name(), err)
	case said.status == http.StatusOK || said.status == http.StatusNotFound:
		return errNext
	case said.status != http.StatusConflict:
		return later(peerPause, "%s does not cancel the job: %d", p.Name(), said.status)
	}
	record, err := f.look(ctx, p, "")
	switch {
	case err != nil:
		return err
	case record.Status == "done":
		return f.deliver(ctx, p, record)
	case record.Status == "error":
		return errNext
	}
	// The original cancels no job that runs: its answer will be paid for.
	return later(peerPause, "%s does not cancel what runs", p.Name())
}
