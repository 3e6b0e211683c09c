package batch

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lobstah/openai"
)

// OpenAI's limits on what a batch is created with, and its pages.
const (
	maxCreate        = 64 << 10
	maxMetadata      = 16
	maxMetadataKey   = 64
	maxMetadataValue = 512
	usualBatches     = 20
	mostBatches      = 100
	maxWindow        = 7 * 24 // hours
)

// createRequest is the body of POST /v1/batches.
type createRequest struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata"`
	Expires          *struct {
		Anchor  string `json:"anchor"`
		Seconds int64  `json:"seconds"`
	} `json:"output_expires_after"`
}

func (s *Service) create(w http.ResponseWriter, r *http.Request) {
	owner := s.Owner(r)
	q, err := readCreate(w, r)
	var record *batchRecord
	if err == nil {
		record, err = s.newRecord(owner, q)
	}
	if err == nil {
		err = s.store.saveBatch(record)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.start(newJob(s, record))
	reply(w, http.StatusOK, record.Batch)
}

func readCreate(w http.ResponseWriter, r *http.Request) (*createRequest, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCreate))
	if err != nil {
		return nil, openai.BadRequest("", "the body cannot be read: %v", err)
	}
	q := new(createRequest)
	if err := json.Unmarshal(body, q); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, openai.BadRequest(e.Field, "%s: a JSON %s is nothing that a batch is created with", e.Field, e.Value)
		}
		return nil, openai.BadRequest("", "the body is not a JSON object: %v", err)
	}
	return q, nil
}

// newRecord checks a request for a batch.
func (s *Service) newRecord(owner string, q *createRequest) (*batchRecord, error) {
	hours, err := window(q.CompletionWindow)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Endpoints(), q.Endpoint) {
		return nil, openai.BadRequest("endpoint", "endpoint %.80q: want one of %s", q.Endpoint, strings.Join(Endpoints(), ", "))
	}
	if err := checkMetadata(q.Metadata); err != nil {
		return nil, err
	}
	lives := int64(month)
	if q.Expires != nil {
		if lives, err = lifetime(q.Expires.Anchor, strconv.FormatInt(q.Expires.Seconds, 10)); err != nil {
			return nil, err
		}
	}
	f := s.store.file(owner, q.InputFileID)
	switch {
	case f == nil:
		return nil, openai.BadRequest("input_file_id", "there is no file %.80q; upload it first", q.InputFileID)
	case f.Purpose != purposeInput:
		return nil, openai.BadRequest("input_file_id", "the file %s has the purpose %s; a batch's input has %s", f.ID, f.Purpose, purposeInput)
	case s.countOpen(owner) >= s.Limits.Batches:
		return nil, tooMuch("too_many_batches", "%d batches have not ended yet, the most that one key may have", s.Limits.Batches)
	}
	now := s.Now()
	return &batchRecord{
		Version: recordVersion, Owner: owner, Made: s.store.stamp(now),
		OutputID: newID("file-"), ErrorID: newID("file-"), OutputLives: lives,
		Batch: Batch{
			ID: newID("batch_"), Object: "batch", Endpoint: q.Endpoint, InputFileID: f.ID, CompletionWindow: q.CompletionWindow,
			Status: Validating, CreatedAt: now.Unix(), ExpiresAt: now.Unix() + hours*3600, Metadata: q.Metadata,
		},
	}, nil
}

func (s *Service) countOpen(owner string) int {
	n := 0
	for _, r := range s.store.listBatches(owner) {
		if !r.Status.Ended() {
			n++
		}
	}
	return n
}

// window reads a completion window. OpenAI knows 24h; we take other whole hours,
// up to a week.
func window(text string) (hours int64, err error) {
	number, ok := strings.CutSuffix(text, "h")
	hours, parse := strconv.ParseInt(number, 10, 64)
	if !ok || parse != nil || hours < 1 || hours > maxWindow {
		return 0, openai.BadRequest("completion_window", "completion_window %.20q: want hours, from 1h to %dh; 24h is usual", text, maxWindow)
	}
	return hours, nil
}

func checkMetadata(m map[string]string) error {
	if len(m) > maxMetadata {
		return openai.BadRequest("metadata", "metadata: at most %d members", maxMetadata)
	}
	for name, value := range m {
		if len([]rune(name)) > maxMetadataKey || len([]rune(value)) > maxMetadataValue {
			return openai.BadRequest("metadata", "metadata: names of at most %d and values of at most %d characters", maxMetadataKey, maxMetadataValue)
		}
	}
	return nil
}

// current is a batch as it is now.
func (s *Service) current(r *batchRecord) Batch {
	if j := s.job(r.ID); j != nil {
		return j.view()
	}
	// It may have ended between the two looks.
	if saved := s.store.batch(r.Owner, r.ID); saved != nil {
		return saved.Batch
	}
	return r.Batch
}

func (s *Service) batch(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	record := s.store.batch(s.Owner(r), id)
	if record == nil {
		s.refuse(w, r, missing("batch", id))
		return
	}
	reply(w, http.StatusOK, s.current(record))
}

func (s *Service) listBatches(w http.ResponseWriter, r *http.Request) {
	list := s.store.listBatches(s.Owner(r))
	slices.Reverse(list)
	p, err := cut(r, list, func(b *batchRecord) string { return b.ID }, usualBatches, mostBatches)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	shown := page[Batch]{Object: p.Object, FirstID: p.FirstID, LastID: p.LastID, HasMore: p.HasMore, Data: []Batch{}}
	for _, record := range p.Data {
		shown.Data = append(shown.Data, s.current(record))
	}
	reply(w, http.StatusOK, shown)
}

// cancel asks nothing more. What is being asked is still answered and kept.
func (s *Service) cancel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	record := s.store.batch(s.Owner(r), id)
	if record == nil {
		s.refuse(w, r, missing("batch", id))
		return
	}
	j := s.job(id)
	if j == nil || !j.cancelNow() {
		status := s.current(record).Status
		e := openai.BadRequest("", "the batch %s is %s and cannot be cancelled any more", id, status)
		s.refuse(w, r, e)
		return
	}
	reply(w, http.StatusOK, j.view())
}

// cancelNow marks the batch, and reports whether it could.
func (j *job) cancelNow() bool {
	now := j.service.Now().Unix()
	can := false
	err := j.change(func(r *batchRecord) {
		if can = r.Status == Validating || r.Status == InProgress; can {
			r.Status, r.CancellingAt = Cancelling, &now
		}
		can = can || r.Status == Cancelling
	})
	if err != nil {
		j.service.Logger.Error("cannot keep that a batch is cancelled", "batch", j.id, "err", err)
	}
	if can {
		j.stop()
	}
	return can
}
