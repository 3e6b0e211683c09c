package batch

import (
	"crypto/rand"
	"encoding/json"
)

// The wire forms are those of OpenAI's API reference, "Files" and "Batch".
// Times are Unix seconds; what does not apply is null.

// A File is the object that stands for an uploaded or written file.
type File struct {
	ID            string  `json:"id"`
	Object        string  `json:"object"` // "file"
	Bytes         int64   `json:"bytes"`
	CreatedAt     int64   `json:"created_at"`
	ExpiresAt     *int64  `json:"expires_at"`
	Filename      string  `json:"filename"`
	Purpose       string  `json:"purpose"` // batch or batch_output
	Status        string  `json:"status"`  // "processed"
	StatusDetails *string `json:"status_details"`
}

// Purposes of files.
const (
	purposeInput  = "batch"
	purposeOutput = "batch_output"
)

// A Status is a stage in the life of a batch.
type Status string

// The stages. A batch that has left Cancelling and those before it has ended.
const (
	Validating Status = "validating"
	Failed     Status = "failed"
	InProgress Status = "in_progress"
	Finalizing Status = "finalizing"
	Completed  Status = "completed"
	Expired    Status = "expired"
	Cancelling Status = "cancelling"
	Cancelled  Status = "cancelled"
)

// Ended reports whether nothing more will happen to the batch.
func (s Status) Ended() bool {
	switch s {
	case Failed, Completed, Expired, Cancelled:
		return true
	}
	return false
}

// A Batch is the object that stands for a batch.
type Batch struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"` // "batch"
	Endpoint         string            `json:"endpoint"`
	Model            *string           `json:"model"` // nil when its lines name several
	Errors           *Faults           `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           Status            `json:"status"`
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     *int64            `json:"in_progress_at"`
	ExpiresAt        int64             `json:"expires_at"`
	FinalizingAt     *int64            `json:"finalizing_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"`
	ExpiredAt        *int64            `json:"expired_at"`
	CancellingAt     *int64            `json:"cancelling_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    Counts            `json:"request_counts"`
	Usage            Usage             `json:"usage"`
	Metadata         map[string]string `json:"metadata"`
	Now              *Now              `json:"lobstah,omitempty"` // ours; other clients ignore it
}

// Counts are lines of the input. Failed ones are those in the error file.
type Counts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// Usage sums what the answers say that they cost, in tokens.
type Usage struct {
	InputTokens        int64       `json:"input_tokens"`
	InputTokensDetails InputDetail `json:"input_tokens_details"`

	OutputTokens        int64        `json:"output_tokens"`
	OutputTokensDetails OutputDetail `json:"output_tokens_details"`

	TotalTokens int64 `json:"total_tokens"`
}

// InputDetail says how many input tokens were kept from earlier requests.
type InputDetail struct {
	CachedTokens int64 `json:"cached_tokens"`
}

// OutputDetail says how many output tokens were thoughts.
type OutputDetail struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

func (u *Usage) add(v Usage) {
	u.InputTokens += v.InputTokens
	u.InputTokensDetails.CachedTokens += v.InputTokensDetails.CachedTokens
	u.OutputTokens += v.OutputTokens
	u.OutputTokensDetails.ReasoningTokens += v.OutputTokensDetails.ReasoningTokens
	u.TotalTokens = u.InputTokens + u.OutputTokens
}

// Now is what a running batch is doing.
type Now struct {
	Running int    `json:"running"`           // lines that are being asked
	Retries int    `json:"retries"`           // tries beyond the first, since the process began
	Waiting string `json:"waiting,omitempty"` // the latest reason to try again, while nothing succeeds
}

// Faults are what is wrong with an input.
type Faults struct {
	Object string  `json:"object"` // "list"
	Data   []Fault `json:"data"`
}

// A Fault is one of them.
type Fault struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int    `json:"line"` // from 1
}

// request is a line of the input.
type request struct {
	CustomID *string         `json:"custom_id"`
	Method   *string         `json:"method"`
	URL      *string         `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// result is a line of the output or of the error file. A request that was
// answered with a failure has a response and no error.
type result struct {
	ID       string    `json:"id"`
	CustomID string    `json:"custom_id"`
	Response *response `json:"response"`
	Error    *failure  `json:"error"`
}

type response struct {
	StatusCode int             `json:"status_code"`
	RequestID  string          `json:"request_id"`
	Body       json.RawMessage `json:"body"`
}

// failure is why a line has no response.
type failure struct {
	Code    string `json:"code"` // batch_expired, batch_cancelled or request_timeout
	Message string `json:"message"`
}

// newID makes an id that nobody guesses.
func newID(prefix string) string { return prefix + rand.Text() }
