package tool

import (
	"encoding/json"
	"time"

	"lobstah/mesh/tool/audit"
)

// repeated keeps in the audit log that a call was asked for again and not run.
func (s *Server) repeated(call *Call) {
	entry := s.entry(call)
	entry.Phase = audit.Repeated
	if err := s.opt.Audit.Append(entry); err != nil {
		s.log.Error("a repeated call cannot be kept", "err", err)
	}
}

// entry is what the audit log keeps of a call.
func (s *Server) entry(call *Call) audit.Entry {
	return audit.Entry{
		Time: time.Now().UTC(), Call: call.ID, Caller: call.Caller.Key, CallerName: call.Caller.Name, Verified: call.Caller.Verified,
		Executor: s.opt.Self.Key, Tool: call.Tool, ArgsSHA256: audit.Digest(call.Args), Args: audit.Preview(call.Args), Key: call.Key,
	}
}

// refused keeps a refusal in the audit log and returns it.
func (s *Server) refused(call *Call, err error) *Error {
	e := s.signed(err)
	unlogged, ok := s.mayLog(call.Caller)
	if !ok {
		return e
	}
	entry := s.entry(call)
	entry.Phase, entry.Outcome, entry.Reason, entry.Unlogged = audit.Refused, e.Code, e.Message, unlogged
	if err := s.opt.Audit.Append(entry); err != nil {
		s.log.Error("a refusal cannot be kept", "err", err)
	}
	return e
}

// describe fills in how a call ended.
func describe(e *audit.Entry, o *Outcome) {
	if o.Error != nil {
		e.Outcome, e.Reason = o.Error.Code, o.Error.Message
		return
	}
	e.Outcome = "ok"
	if o.Result.IsError {
		e.Outcome, e.Reason = "failed", audit.Preview([]byte(o.Result.String()))
	}
	var details struct {
		ExitCode *int `json:"exitCode"`
	}
	if json.Unmarshal(o.Result.Details, &details) == nil {
		e.ExitCode = details.ExitCode
	}
}
