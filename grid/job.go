package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lobstah/receipt"
)

// An Order is a request that was accepted to be answered later. Whoever
// accepted it, a worker or a router, fulfils it.
type Order struct {
	ID       string // of the job: a UUID, which is a secret of who submitted it
	Owner    string // who may ask about it; see Asker
	Purse    string // whose quota and turn it takes; several owners may share one
	Model    string
	Tier     Tier
	Metadata map[string]string // the client's own notes
	Body     []byte            // as it came
	Waits    string            // why it cannot be begun yet; empty when it can, as far as is known
	Seal     json.RawMessage   // what who accepted it has to know to fulfil it; of no meaning to others
}

// ParseMetadata reads a job's metadata: an object of strings, or nothing.
func ParseMetadata(raw []byte) (map[string]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var values map[string]*string
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, errors.New("want an object whose values are strings")
	}
	m := make(map[string]string, len(values))
	for name, value := range values {
		if value == nil {
			return nil, fmt.Errorf("%.80q is null; want a string", name)
		}
		m[name] = *value
	}
	return m, nil
}

// An Asker is somebody who asks about jobs.
type Asker struct {
	// Owner is what was proved: a key's text, or what only programs on this
	// machine can be. Empty for nobody in particular.
	Owner string
	// Bearer is somebody who proved nothing but may know a job's id, which is
	// enough for jobs that were submitted in the same way.
	Bearer bool
}

// ErrJobCancelled is the cause for which the context of a job ends when its
// owner wants it no more.
var ErrJobCancelled = errors.New("the job was cancelled")

// ErrJobOverdue is the cause for which it ends when its time is over.
var ErrJobOverdue = errors.New("the job was not answered in time")

// A JobLog keeps how far a job has come. Its methods return once that is
// durable; after an error the job is somebody else's, or nobody's.
type JobLog interface {
	// Note keeps what fulfilling the order again would have to know. From then
	// on the job may be elsewhere, so nothing else decides its end.
	Note(ctx context.Context, note []byte) error
	// Noted returns the latest note, nil for none.
	Noted() []byte
	// Begun says that the answer is being made.
	Begun(ctx context.Context, at time.Time) error
	// Done keeps the answer, and with it the receipt that was made for it,
	// if one was: both or neither.
	Done(ctx context.Context, result []byte, s *receipt.Signed) error
}

// Job is how a job stands, as GET /v1/jobs/ID tells it: the original's members,
// then ours.
type Job struct {
	ID          string            `json:"jobId"`
	Status      string            `json:"status"`    // queued, running, done, error
	CreatedAt   int64             `json:"createdAt"` // Unix milliseconds, as all times
	Metadata    map[string]string `json:"metadata,omitempty"`
	StartedAt   int64             `json:"startedAt,omitempty"`
	CompletedAt int64             `json:"completedAt,omitempty"`
	Result      json.RawMessage   `json:"result,omitempty"`
	Receipt     json.RawMessage   `json:"signedReceipt,omitempty"`
	Error       *JobError         `json:"error,omitempty"`

	Model     string `json:"model,omitempty"`
	Tier      Tier   `json:"tier,omitempty"`
	ExpiresAt int64  `json:"expiresAt,omitempty"` // when it is forgotten, or given up
	Position  int    `json:"position,omitempty"`  // how many go first, itself included; 0 for unknown
	Waiting   string `json:"waiting,omitempty"`   // why it waits, unless it is for its turn
}

// JobError says why a job has no result. Status and Code are ours.
type JobError struct {
	Type    string `json:"type"` // cancelled, engine_error, …
	Message string `json:"message,omitempty"`
	Code    string `json:"code,omitempty"`
	Status  int    `json:"status,omitempty"` // the HTTP status that a request for an answer would have got
}

// MaxJobBytes caps a job's answer, and so what a peer may say about one.
const MaxJobBytes = 16 << 20
