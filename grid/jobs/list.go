package jobs

import (
	"net/http"
	"strconv"

	"lobstah/grid"
	"lobstah/openai"
)

// A listing is the answer to GET /v1/jobs, in the shape of OpenAI's lists.
type listing struct {
	Object  string     `json:"object"` // list
	Data    []grid.Job `json:"data"`   // without results
	FirstID string     `json:"first_id,omitempty"`
	LastID  string     `json:"last_id,omitempty"` // the next page is the one after it
	HasMore bool       `json:"has_more"`
}

// index lists the asker's own jobs, newest first: ?limit=, ?after=ID, ?status=.
func (s *Service) index(w http.ResponseWriter, r *http.Request, _ string) *openai.Error {
	asker, fault := s.Backend.Identify(r)
	if fault != nil {
		return fault
	}
	if asker.Owner == "" {
		return &openai.Error{
			Status: http.StatusUnauthorized, Type: "authentication_error", Code: "unsigned_request",
			Message: "jobs are listed to whom they belong: sign the request",
		}
	}
	p, fault := s.pageOf(r, asker)
	if fault != nil {
		return fault
	}
	limit := p.limit
	p.limit++
	list, err := s.store.list(r.Context(), p)
	if err != nil {
		return s.explain(r.Context(), err)
	}
	out := listing{Object: "list", Data: make([]grid.Job, min(len(list), limit)), HasMore: len(list) > limit}
	for i := range out.Data {
		out.Data[i] = s.record(list[i])
	}
	if n := len(out.Data); n > 0 {
		out.FirstID, out.LastID = out.Data[0].ID, out.Data[n-1].ID
	}
	s.answer(w, http.StatusOK, out)
	return nil
}

func (s *Service) pageOf(r *http.Request, asker grid.Asker) (page, *openai.Error) {
	q := r.URL.Query()
	p := page{owner: asker.Owner, limit: defaultPage}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return p, openai.BadMember("limit", "want a number from 1 to %d", maxPage)
		}
		p.limit = min(n, maxPage)
	}
	if text := q.Get("status"); text != "" {
		for _, known := range []Status{Queued, Running, Done, Failed} {
			if known.String() == text {
				p.status = known
			}
		}
		if p.status == 0 {
			return p, openai.BadMember("status", "want queued, running, done or error")
		}
	}
	if after := q.Get("after"); after != "" {
		j, fault := s.lookUp(r.Context(), asker, after)
		if fault != nil {
			return p, fault
		}
		p.after = j.Seq
	}
	return p, nil
}
