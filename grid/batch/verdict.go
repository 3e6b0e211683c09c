package batch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"lobstah/openai"
)

const (
	// A line is given up after so many failures while others of its model
	// succeeded, or after so many in all. What the pool is short of (429, 503)
	// does not count.
	blamedTries    = 6
	mostTries      = 10
	firstRetry     = time.Second
	mostRetry      = 10 * time.Minute
	mostRetryAfter = time.Hour
)

// verdict says what to do after an answer.
type verdict struct {
	done   bool          // the answer is the line's result
	full   bool          // the pool's state, not the line, is the reason
	wait   time.Duration // until the next try
	reason string
}

// circumstances are how the others of a line's model fare.
type circumstances struct {
	others  bool          // some were answered since this line was taken, or failed last
	ever    bool          // some were answered in this batch
	unknown time.Duration // for how long nobody has had the model
}

// judge decides about a line's answer, and counts the try.
func (s *Service) judge(t *task, a *answer, c circumstances) verdict {
	if a.tooLarge || !retriable(a.status) {
		return verdict{done: true}
	}
	v := verdict{reason: openai.ParseError(a.status, a.body).Message, wait: a.retryAfter}
	switch a.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		v.full = true
	case http.StatusNotFound:
		v.full, v.done = true, !c.ever && c.unknown >= s.Patience
	default:
		t.tries++
		if c.others {
			t.blamed++
		}
		v.full = !c.others // nobody is answered, so it is hardly the line
		v.done = t.blamed >= blamedTries || t.tries >= mostTries
	}
	if v.wait == 0 {
		v.wait = backoff(t.tries)
	}
	return v
}

// retriable tells the statuses that another try may change.
func retriable(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusUnauthorized,
		http.StatusPaymentRequired, http.StatusForbidden:
		return true
	}
	return status >= 500 && status != http.StatusNotImplemented
}

// backoff doubles with each try, and is spread so that lines that failed
// together do not come back together.
func backoff(tries int) time.Duration {
	d := min(firstRetry<<min(max(tries-1, 0), 20), mostRetry)
	return d/2 + rand.N(d/2+1)
}

// retryAfter reads the header in seconds or as a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return min(time.Duration(min(max(seconds, 0), 1<<20))*time.Second, mostRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), mostRetryAfter)
	}
	return 0
}

// resultOf makes an answer a line of the output or the error file.
func resultOf(id, customID string, a *answer, limit int) result {
	body := a.body
	status := a.status
	if a.tooLarge {
		status = http.StatusBadGateway
		body = (&openai.Error{
			Type: "answer_too_large", Message: fmt.Sprintf("the answer is larger than %d MiB, which a batch does not keep", limit>>20),
		}).JSON()
	} else if !json.Valid(body) {
		e := openai.ParseError(status, body)
		if status == http.StatusOK {
			status, e.Message = http.StatusBadGateway, "the answer is not JSON"
		}
		body = e.JSON()
	}
	if bytes.ContainsAny(body, "\n\r") { // one line each
		var flat bytes.Buffer
		if err := json.Compact(&flat, body); err == nil {
			body = flat.Bytes()
		}
	}
	requestID := a.requestID
	if requestID == "" {
		requestID = id
	}
	return result{ID: id, CustomID: customID, Response: &response{StatusCode: status, RequestID: requestID, Body: body}}
}

// usageOf reads what an answer says that it cost, in the words of any dialect.
func usageOf(d openai.Dialect, body []byte) Usage {
	meter := openai.NewMeter(d)
	meter.Body(body)
	var more struct {
		Usage struct {
			Prompt     InputDetail  `json:"prompt_tokens_details"`
			Input      InputDetail  `json:"input_tokens_details"`
			Completion OutputDetail `json:"completion_tokens_details"`
			Output     OutputDetail `json:"output_tokens_details"`
		} `json:"usage"`
	}
	_ = json.Unmarshal(body, &more) // details that cannot be read are not there
	u := Usage{InputTokens: meter.Usage.Input, OutputTokens: meter.Usage.Output}
	u.InputTokensDetails.CachedTokens = more.Usage.Prompt.CachedTokens + more.Usage.Input.CachedTokens
	u.OutputTokensDetails.ReasoningTokens = more.Usage.Completion.ReasoningTokens + more.Usage.Output.ReasoningTokens
	u.TotalTokens = u.InputTokens + u.OutputTokens
	return u
}
