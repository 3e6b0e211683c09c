package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lobstah/openai"
)

const (
	maxParts     = 16
	maxField     = 4 << 10
	maxFilename  = 255
	uploadChunk  = 256 << 10
	chunkTimeout = time.Minute
	month        = 30 * 24 * 60 * 60 // seconds
)

// upload is POST /v1/files: a form with purpose, file and perhaps expires_after.
// The file goes to disk as it comes.
func (s *Service) upload(w http.ResponseWriter, r *http.Request) {
	owner := s.Owner(r)
	f, err := s.receive(w, r, owner)
	if err != nil {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		s.refuse(w, r, err)
		return
	}
	reply(w, http.StatusOK, f.File)
}

func (s *Service) receive(w http.ResponseWriter, r *http.Request, owner string) (*fileRecord, error) {
	if n := s.store.countFiles(owner); n >= s.Limits.Files {
		return nil, tooMuch("too_many_files", "there are %d files already, the most that one key may have; delete some first", n)
	}
	if r.ContentLength > s.Limits.File+maxParts*maxField {
		return nil, tooLarge(s.Limits.File)
	}
	form, err := r.MultipartReader()
	if err != nil {
		return nil, openai.BadRequest("file", "upload a file as multipart/form-data: %v", err)
	}
	now := s.Now()
	u := &uploading{service: s, fields: map[string]string{}, record: fileRecord{
		Version: recordVersion, Owner: owner, Made: s.store.stamp(now),
		File: File{ID: newID("file-"), Object: "file", CreatedAt: now.Unix(), Status: "processed"},
	}}
	// Not every server can set deadlines (tests); then there are none.
	control := http.NewResponseController(w)
	u.alive = func() { _ = control.SetReadDeadline(time.Now().Add(chunkTimeout)) }
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	err = u.read(r.Context(), form)
	if err == nil {
		err = u.fill(now)
	}
	if err == nil {
		err = u.keep()
	}
	if err != nil {
		return nil, errors.Join(err, u.drop())
	}
	return &u.record, nil
}

// uploading is an upload on its way.
type uploading struct {
	service *Service
	record  fileRecord
	fields  map[string]string
	part    *os.File // nil before the file's part
	taken   int64    // bytes of the disk's budget
	alive   func()   // moves the connection's deadline
}

func (u *uploading) read(ctx context.Context, form *multipart.Reader) error {
	for range maxParts {
		u.alive()
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return u.cutOff(err)
		case part.FormName() == "file" && u.part != nil:
			return openai.BadRequest("file", "the form has two files")
		case part.FormName() == "file":
			err = u.readFile(ctx, part)
		default:
			err = u.readField(part)
		}
		if err != nil {
			return err
		}
	}
	return openai.BadRequest("", "the form has more than %d parts", maxParts)
}

func (u *uploading) cutOff(err error) error {
	return openai.BadRequest("file", "the form cannot be read: %v", err)
}

func (u *uploading) readField(part *multipart.Part) error {
	text, err := io.ReadAll(io.LimitReader(part, maxField+1))
	switch {
	case err != nil:
		return u.cutOff(err)
	case len(text) > maxField:
		return openai.BadRequest("", "the form's member %.80q is too long", part.FormName())
	}
	u.fields[part.FormName()] = string(text)
	return nil
}

func (u *uploading) readFile(ctx context.Context, part *multipart.Part) (err error) {
	u.record.Filename = cleanName(part.FileName())
	if u.part, err = os.OpenFile(u.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	limit := u.service.Limits.File
	for ctx.Err() == nil {
		u.alive()
		n, err := io.CopyN(budgeted{u}, part, uploadChunk)
		u.record.Bytes += n
		if u.record.Bytes > limit {
			return tooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if disk, ok := errors.AsType[*diskError](err); ok {
			return disk.error
		}
		if err != nil {
			return u.cutOff(err)
		}
	}
	return u.cutOff(ctx.Err())
}

func tooLarge(limit int64) error {
	return &openai.Error{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "file_too_large", Param: "file",
		Message: fmt.Sprintf("the file is larger than %d bytes", limit),
	}
}

// budgeted writes to the file within the disk's budget.
type budgeted struct{ *uploading }

// diskError is a failure of our side, not of the client's.
type diskError struct{ error }

func (w budgeted) Write(p []byte) (int, error) {
	if !w.service.store.reserve(int64(len(p))) {
		return 0, &diskError{tooMuch("storage_full", "the share of the disk for batches is used up (%d of %d bytes are left); delete files first",
			w.service.store.room(), w.service.Limits.Disk)}
	}
	w.taken += int64(len(p))
	n, err := w.part.Write(p)
	if err != nil {
		err = &diskError{err}
	}
	return n, err
}

func (u *uploading) path() string { return u.service.store.filePath(u.record.ID) + ".part" }

// fill takes the form's other members.
func (u *uploading) fill(now time.Time) error {
	purpose, given := u.fields["purpose"]
	switch {
	case !given:
		return openai.BadRequest("purpose", "the form has no purpose; for a batch it is \"batch\"")
	case purpose != purposeInput:
		return openai.BadRequest("purpose", "purpose %.40q: this router takes files for batches only, whose purpose is \"batch\"", purpose)
	case u.part == nil:
		return openai.BadRequest("file", "the form has no file")
	}
	u.record.Purpose = purpose
	lives, err := lifetime(u.fields["expires_after[anchor]"], u.fields["expires_after[seconds]"])
	u.record.ExpiresAt = new(now.Unix() + lives)
	return err
}

// lifetime reads how many seconds a file is to be kept; 30 days unless told.
func lifetime(anchor, seconds string) (int64, error) {
	if anchor == "" && seconds == "" {
		return month, nil
	}
	if anchor != "created_at" {
		return 0, openai.BadRequest("expires_after.anchor", "expires_after: the anchor has to be created_at")
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 3600 || n > month {
		return 0, openai.BadRequest("expires_after.seconds", "expires_after: want from 3600 to %d seconds", month)
	}
	return n, nil
}

// keep makes the upload a file.
func (u *uploading) keep() error {
	if err := errors.Join(u.part.Sync(), u.part.Close()); err != nil {
		return err
	}
	if err := os.Rename(u.path(), u.service.store.filePath(u.record.ID)); err != nil {
		return err
	}
	return u.service.store.addFile(&u.record)
}

// drop forgets an upload that came to nothing.
func (u *uploading) drop() error {
	if u.part == nil {
		return nil
	}
	_ = u.part.Close() // it may be closed already
	u.service.store.release(u.taken)
	return removeAll(u.path(), u.service.store.filePath(u.record.ID))
}

// cleanName keeps of a client's name what is harmless anywhere.
func cleanName(name string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, name)
	if len(name) > maxFilename {
		name = strings.ToValidUTF8(name[:maxFilename], "")
	}
	if name == "" || name == "." || name == "/" {
		return "upload.jsonl"
	}
	return name
}
