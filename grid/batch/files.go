package batch

import (
	"mime"
	"net/http"
	"os"
	"slices"
	"time"

	"lobstah/openai"
)

// mostFiles is OpenAI's largest page of files, and the usual one.
const mostFiles = 10_000

func (s *Service) listFiles(w http.ResponseWriter, r *http.Request) {
	list := s.store.listFiles(s.Owner(r), r.URL.Query().Get("purpose"))
	switch order := r.URL.Query().Get("order"); order {
	case "asc":
	case "", "desc":
		slices.Reverse(list)
	default:
		s.refuse(w, r, openai.BadRequest("order", "order %.20q: want asc or desc", order))
		return
	}
	files := make([]File, len(list))
	for i, f := range list {
		files[i] = f.File
	}
	p, err := cut(r, files, func(f File) string { return f.ID }, mostFiles, mostFiles)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	reply(w, http.StatusOK, p)
}

// named returns the file that a request names.
func (s *Service) named(r *http.Request) (*fileRecord, error) {
	id := r.PathValue("id")
	f := s.store.file(s.Owner(r), id)
	if f == nil || f.ExpiresAt != nil && s.Now().Unix() >= *f.ExpiresAt {
		return nil, missing("file", id)
	}
	return f, nil
}

func (s *Service) file(w http.ResponseWriter, r *http.Request) {
	f, err := s.named(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	reply(w, http.StatusOK, f.File)
}

func (s *Service) content(w http.ResponseWriter, r *http.Request) {
	f, err := s.named(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	in, err := os.Open(s.store.filePath(f.ID))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer in.Close()
	// What was uploaded must not become a page of ours in somebody's browser.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Filename}))
	http.ServeContent(w, r, "", time.Unix(f.CreatedAt, 0), in)
}

func (s *Service) deleteFile(w http.ResponseWriter, r *http.Request) {
	f, err := s.named(r)
	if err == nil {
		err = s.store.deleteFile(f)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	reply(w, http.StatusOK, struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Deleted bool   `json:"deleted"`
	}{f.ID, "file", true})
}

// tooMuch refuses what would pass a limit that deleting files helps against.
func tooMuch(code, format string, args ...any) *openai.Error {
	e := openai.BadRequest("", format, args...)
	e.Code = code
	return e
}
