package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"lobstah/grid/batch"
	"lobstah/internal/durable"
	"lobstah/openai"
)

// A batchClient talks to a router's Files and Batch API.
type batchClient struct{ *apiClient }

func (a *app) batchClient(s clientSettings) (*batchClient, error) {
	client, err := a.client(s)
	return &batchClient{client}, err
}

// A refusedError is the router's refusal.
type refusedError struct {
	error
	status int
}

func (e *refusedError) Unwrap() error { return e.error }

// missing reports whether what was asked for is not there.
func missingThere(err error) bool {
	e, ok := errors.AsType[*refusedError](err)
	return ok && e.status == http.StatusNotFound
}

// send sends a request and returns the answer, which the caller closes.
func (c *batchClient) send(r *http.Request) (*http.Response, error) {
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return nil, err
	}
	return nil, &refusedError{c.refused(response.StatusCode, openai.ParseError(response.StatusCode, text)), response.StatusCode}
}

// call sends JSON, if in is not nil, and reads JSON.
func (c *batchClient) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	return c.read(r, out)
}

func (c *batchClient) read(r *http.Request, out any) error {
	response, err := c.send(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(out); err != nil {
		return fmt.Errorf("%s%s answers something that a router does not: %w", c.base, r.URL.Path, err)
	}
	return nil
}

func (c *batchClient) get(ctx context.Context, id string) (b batch.Batch, err error) {
	return b, c.call(ctx, http.MethodGet, "/v1/batches/"+url.PathEscape(id), nil, &b)
}

func (c *batchClient) list(ctx context.Context, limit int) ([]batch.Batch, error) {
	var page struct{ Data []batch.Batch }
	err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/batches?limit=%d", limit), nil, &page)
	return page.Data, err
}

// upload sends a file as it is read.
func (c *batchClient) upload(ctx context.Context, path string) (f batch.File, err error) {
	in, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return f, err
	}
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := form.WriteField("purpose", "batch"); err != nil {
		return f, err
	}
	if _, err := form.CreateFormFile("file", filepath.Base(path)); err != nil {
		return f, err
	}
	begin := head.Len()
	if err := form.Close(); err != nil {
		return f, err
	}
	all := head.Bytes()
	body := io.MultiReader(bytes.NewReader(all[:begin]), in, bytes.NewReader(all[begin:]))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/files", body)
	if err != nil {
		return f, err
	}
	r.ContentLength = int64(len(all)) + info.Size()
	r.Header.Set("Content-Type", form.FormDataContentType())
	return f, c.read(r, &f)
}

// download writes a file's content to path, all or nothing.
func (c *batchClient) download(ctx context.Context, id, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/files/"+id+"/content", nil)
	if err != nil {
		return err
	}
	response, err := c.send(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return durable.Write(path, 0o644, func(w io.Writer) error {
		n, err := io.Copy(w, response.Body)
		if err == nil && response.ContentLength >= 0 && n != response.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
}

// remove deletes a file; one that is gone is as good.
func (c *batchClient) remove(ctx context.Context, id string) error {
	var gone struct{ Deleted bool }
	err := c.call(ctx, http.MethodDelete, "/v1/files/"+id, nil, &gone)
	if missingThere(err) {
		return nil
	}
	return err
}
