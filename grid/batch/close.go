package batch

import (
	"errors"
	"io/fs"
	"os"
)

// close makes the results files that can be fetched, and says in the record
// that the batch has ended. Each step may be done twice, since a crash may come
// between any two.
func (j *job) close(as Status) error {
	now := j.service.Now().Unix()
	err := j.change(func(r *batchRecord) {
		r.ClosingAs = as
		if (as == Completed || as == Expired) && r.Status != Finalizing {
			r.Status, r.FinalizingAt = Finalizing, &now
		}
	})
	if err != nil {
		return err
	}
	st, r := j.service.store, j.saved()
	output, err := j.publish(st.outputPath(j.id), r.OutputID, j.id+"_output.jsonl")
	if err != nil {
		return err
	}
	errorFile, err := j.publish(st.errorsPath(j.id), r.ErrorID, j.id+"_error.jsonl")
	if err != nil {
		return err
	}
	return j.change(func(r *batchRecord) {
		r.Status, r.ClosingAs, r.OutputFileID, r.ErrorFileID = as, "", output, errorFile
		at := j.service.Now().Unix()
		switch as {
		case Completed:
			r.CompletedAt = &at
		case Expired:
			r.ExpiredAt = &at
		case Cancelled:
			r.CancelledAt = &at
		case Failed:
			r.FailedAt = &at
		}
	})
}

func (j *job) saved() batchRecord {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.record
}

// publish makes a file of results one that clients see. It returns nil when
// there are no results in it.
func (j *job) publish(from, id, name string) (*string, error) {
	st, r := j.service.store, j.saved()
	to := st.filePath(id)
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	info, err := os.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, removeAll(to)
	}
	now := j.service.Now()
	return &id, st.addFile(&fileRecord{
		Version: recordVersion, Owner: r.Owner, Made: st.stamp(now),
		File: File{
			ID: id, Object: "file", Bytes: info.Size(), CreatedAt: now.Unix(), ExpiresAt: new(now.Unix() + r.OutputLives),
			Filename: name, Purpose: purposeOutput, Status: "processed",
		},
	})
}
