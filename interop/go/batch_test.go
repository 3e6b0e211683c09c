package interop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
)

// wait polls a batch until it has ended.
func wait(t *testing.T, c openai.Client, id string) *openai.Batch {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := c.Batches.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		switch b.Status {
		case openai.BatchStatusCompleted, openai.BatchStatusFailed, openai.BatchStatusExpired, openai.BatchStatusCancelled:
			return b
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the batch does not end")
		}
	}
}

func TestBatch(t *testing.T) {
	c := client(t)
	var input strings.Builder
	for i := range 5 {
		fmt.Fprintf(&input, `{"custom_id":"line-%d","method":"POST","url":"/v1/embeddings","body":{"model":"embed","input":"hello %d"}}`+"\n", i, i)
	}
	file, err := c.Files.New(t.Context(), openai.FileNewParams{
		File:         openai.File(strings.NewReader(input.String()), "requests.jsonl", "application/jsonl"),
		Purpose:      openai.FilePurposeBatch,
		ExpiresAfter: openai.FileNewParamsExpiresAfter{Seconds: 3600},
	})
	if err != nil {
		t.Fatal(err)
	}
	if file.Bytes != int64(input.Len()) || file.ExpiresAt-file.CreatedAt != 3600 {
		t.Errorf("file %s", file.RawJSON())
	}
	made, err := c.Batches.New(t.Context(), openai.BatchNewParams{
		InputFileID: file.ID, Endpoint: openai.BatchNewParamsEndpointV1Embeddings, CompletionWindow: openai.BatchNewParamsCompletionWindow24h,
		OutputExpiresAfter: openai.BatchNewParamsOutputExpiresAfter{Seconds: 7200},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := wait(t, c, made.ID)
	if b.Status != openai.BatchStatusCompleted || b.RequestCounts.Completed != 5 || b.RequestCounts.Total != 5 || b.Usage.InputTokens == 0 || b.Model != "embed" {
		t.Errorf("batch %s", b.RawJSON())
	}
	output, err := c.Files.Get(t.Context(), b.OutputFileID)
	if err != nil || output.ExpiresAt-output.CreatedAt != 7200 || output.Purpose != openai.FileObjectPurposeBatchOutput {
		t.Errorf("output file %s, %v", output.RawJSON(), err)
	}
	content, err := c.Files.Content(t.Context(), b.OutputFileID)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Body.Close()
	seen := map[string]bool{}
	scanner := bufio.NewScanner(content.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line struct {
			CustomID string `json:"custom_id"`
			Response struct {
				Body struct {
					Data []struct{ Embedding []float64 }
				}
			}
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || len(line.Response.Body.Data) != 1 || len(line.Response.Body.Data[0].Embedding) == 0 {
			t.Errorf("line %.200s: %v", scanner.Bytes(), err)
		}
		seen[line.CustomID] = true
	}
	if err := scanner.Err(); err != nil && !errors.Is(err, io.EOF) || len(seen) != 5 {
		t.Errorf("%d lines, %v", len(seen), err)
	}
}

func TestBatchRefused(t *testing.T) {
	c := client(t)
	_, err := c.Batches.Get(t.Context(), "batch_none")
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 404 {
		t.Errorf("error %v; want the client's own error with status 404", err)
	}
	page := c.Batches.ListAutoPaging(t.Context(), openai.BatchListParams{Limit: openai.Int(1)})
	for page.Next() {
		if page.Current().ID == "" {
			t.Error("a batch without id")
		}
	}
	if page.Err() != nil {
		t.Error(page.Err())
	}
}
