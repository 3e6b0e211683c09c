package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/cli"
	"lobstah/internal/durable"
)

type batchRunCommand struct {
	clientSettings `embed:""`
	Requests       string `arg:"" help:"The requests: JSON Lines as OpenAI's Batch API takes them."`
	Output         string `short:"o" required:"" placeholder:"FILE" help:"Where the answers go. Errors go beside it: results.errors.jsonl for results.jsonl."`
	Endpoint       string `placeholder:"PATH" help:"What every line asks; by default the url of the first one."`
	Window         int    `default:"24" placeholder:"HOURS" help:"How many hours it may take; what is not answered then becomes an error."`
	Overwrite      bool   `help:"Begin anew, even if there are results or a batch that was begun."`
	JSON           bool   `name:"json" help:"Print a summary in JSON at the end."`

	// For a router of its own.
	Discovery    discoverySettings `embed:""`
	Nostr        nostrSettings     `embed:""`
	BlockPrivate bool              `setting:"block-private-addrs" name:"block-private-addrs" help:"Peers that strangers named may not be in private networks either."`
}

// Help is printed by --help.
func (batchRunCommand) Help() string {
	return `Every line of the input is one request:

  {"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"qwen3:4b","messages":[...]}}

and every line of the results one answer, with its custom_id, in the order in
which they came. All peers that have the model work on it, each as fast as it can;
what fails is tried again.

It runs in the router that runs here (or that --router names), and when none
does, in one of its own that asks the peers of lobstah peers, and those that
--discover-from finds. Ctrl-C, a crash and a reboot lose nothing: the same command
goes on where it was. In a router that goes on running the batch does, too;
lobstah batch cancel ends it.

Exit code 0 when every line was answered, 1 when some failed.

Examples:
  lobstah batch run requests.jsonl -o results.jsonl
  lobstah batch run requests.jsonl -o results.jsonl --json | jq .failed
  lobstah batch list`
}

func (c *batchRunCommand) Run(ctx context.Context, a *app) error {
	if err := c.Discovery.check(c.Nostr); err != nil {
		return err
	}
	run := &batchRun{app: a, batchRunCommand: c, statePath: c.Output + ".batch"}
	if err := run.prepare(); err != nil {
		return err
	}
	ctx, stop, err := run.connect(ctx)
	if err != nil {
		return err
	}
	err = run.follow(ctx)
	return errors.Join(err, stop())
}

// batchRun is one batch on its way, as the user sees it.
type batchRun struct {
	*app
	*batchRunCommand
	client    *batchClient
	statePath string
	state     batchState
}

// batchState is what has to be known to go on; it lies beside the results while
// there are none.
type batchState struct {
	Version int       `json:"version"`
	Input   string    `json:"input"`  // hash of the requests
	Place   string    `json:"place"`  // whose router it is: a URL, or a home folder
	Run     string    `json:"run"`    // in the batch's metadata, should its id not be known
	File    string    `json:"fileId"` // of the requests in the router; empty before the upload
	Batch   string    `json:"batchId"`
	Begun   time.Time `json:"begun"`
}

// runMember is the member of a batch's metadata by which it is found again.
const runMember = "lobstah_run"

func (r *batchRun) errorsPath() string {
	ext := filepath.Ext(r.Output)
	return strings.TrimSuffix(r.Output, ext) + ".errors" + ext
}

// prepare reads what there is already, and refuses to write over it.
func (r *batchRun) prepare() error {
	sum, err := hashFile(r.Requests)
	if err != nil {
		return err
	}
	if r.Endpoint == "" {
		if r.Endpoint, err = firstURL(r.Requests); err != nil {
			return err
		}
	}
	fresh := batchState{Version: 1, Input: sum, Place: r.place(), Run: rand.Text(), Begun: time.Now()}
	if r.Overwrite {
		r.state = fresh
		return nil
	}
	text, err := os.ReadFile(r.statePath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.state = fresh
		if exists(r.Output) {
			return cli.Hintf(fmt.Errorf("%s is there already", r.Output), "--overwrite answers everything anew")
		}
		return nil
	case err != nil:
		return err
	}
	if err := json.Unmarshal(text, &r.state); err != nil {
		return cli.Hintf(fmt.Errorf("%s: %w", r.statePath, err), "--overwrite begins anew")
	}
	switch {
	case r.state.Input != sum:
		return cli.Hintf(fmt.Errorf("%s has changed since its batch was begun", r.Requests), "--overwrite begins anew, another -o begins another one")
	case r.state.Place != fresh.Place:
		return cli.Hintf(fmt.Errorf("the batch of %s was begun with the router of %s, not of %s", r.Output, r.state.Place, fresh.Place),
			"go on there (--router URL, LOBSTAH_HOME), or begin anew here with --overwrite")
	}
	return nil
}

// place is where the batch is, so that another router that does not know it is
// not taken for one that has forgotten it.
func (r *batchRun) place() string {
	if r.Router != "" {
		return strings.TrimSuffix(strings.TrimRight(r.Router, "/"), "/v1")
	}
	return r.home.Dir
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// firstURL reads the url of the first request; what is wrong with it the router
// tells better.
func firstURL(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 64 << 20
	in := bufio.NewReader(io.LimitReader(f, most))
	for {
		line, err := in.ReadBytes('\n')
		var first struct{ URL string }
		if json.Unmarshal(line, &first) == nil && slices.Contains(batch.Endpoints(), first.URL) {
			return first.URL, nil
		}
		if len(strings.TrimSpace(string(line))) > 0 || err != nil {
			return "/v1/chat/completions", nil
		}
	}
}

// begin uploads and creates, unless that is done.
func (r *batchRun) begin(ctx context.Context) error {
	if r.state.Batch == "" && r.state.File != "" {
		if err := r.find(ctx); err != nil {
			return err
		}
	}
	if r.state.Batch != "" {
		switch _, err := r.client.get(ctx, r.state.Batch); {
		case err == nil:
			r.note("going on with %s", r.state.Batch)
			return nil
		case !missingThere(err):
			return err
		}
		r.note("the router does not know %s any more; beginning anew", r.state.Batch)
		r.state.Batch = ""
	}
	done := r.Progress("uploading " + r.Requests)
	file, err := r.client.upload(ctx, r.Requests)
	done()
	if err != nil {
		return err
	}
	r.state.File = file.ID
	if err := r.save(); err != nil {
		return err
	}
	var b batch.Batch
	err = r.client.call(ctx, http.MethodPost, "/v1/batches", map[string]any{
		"input_file_id": file.ID, "endpoint": r.Endpoint, "completion_window": fmt.Sprintf("%dh", r.Window),
		"metadata": map[string]string{runMember: r.state.Run},
	}, &b)
	if err != nil {
		return errors.Join(err, r.client.remove(ctx, file.ID), os.Remove(r.statePath))
	}
	r.state.Batch = b.ID
	return r.save()
}

// find looks for the batch of a command that ended before it knew the id.
func (r *batchRun) find(ctx context.Context) error {
	const most = 100
	list, err := r.client.list(ctx, most)
	for _, b := range list {
		if b.Metadata[runMember] == r.state.Run {
			r.state.Batch = b.ID
		}
	}
	return err
}

func (r *batchRun) save() error {
	text, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	return durable.WriteFile(r.statePath, append(text, '\n'), 0o600)
}

// follow shows how the batch does until it ends, and fetches the results.
func (r *batchRun) follow(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	b, err := r.watch(ctx)
	if ctx.Err() != nil {
		return cli.Hintf(errors.New("interrupted; what was answered is kept"), "the same command goes on; lobstah batch cancel %s ends the batch", r.state.Batch)
	}
	if err != nil {
		return cli.Hintf(err, "the same command goes on with the batch")
	}
	return r.fetch(ctx, b)
}

// fetch brings the results home.
func (r *batchRun) fetch(ctx context.Context, b batch.Batch) error {
	if b.Status == batch.Failed {
		return r.reportFaults(ctx, b)
	}
	output, errorFile := "", ""
	if b.ErrorFileID != nil {
		errorFile = r.errorsPath()
		if err := r.client.download(ctx, *b.ErrorFileID, errorFile); err != nil {
			return cli.Hintf(err, "the same command fetches the results again")
		}
	} else if err := os.Remove(r.errorsPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of a former run
	}
	if b.OutputFileID != nil {
		output = r.Output
		if err := r.client.download(ctx, *b.OutputFileID, output); err != nil {
			return cli.Hintf(err, "the same command fetches the results again")
		}
	} else if err := durable.WriteFile(r.Output, nil, 0o644); err != nil {
		return err
	}
	if err := os.Remove(r.statePath); err != nil {
		return err
	}
	r.tidy(ctx, b)
	return r.summarise(b, output, errorFile)
}

// tidy deletes from the router what is at home now.
func (r *batchRun) tidy(ctx context.Context, b batch.Batch) {
	for _, id := range []*string{&b.InputFileID, b.OutputFileID, b.ErrorFileID} {
		if id == nil {
			continue
		}
		if err := r.client.remove(ctx, *id); err != nil {
			r.warn("the router keeps %s for now: %v", *id, err)
		}
	}
}

// reportFaults says what is wrong with the requests.
func (r *batchRun) reportFaults(ctx context.Context, b batch.Batch) error {
	var faults []batch.Fault
	if b.Errors != nil {
		faults = b.Errors.Data
	}
	for _, f := range faults {
		r.note("%s", faultText(r.Requests, f))
	}
	r.tidy(ctx, b)
	if err := os.Remove(r.statePath); err != nil {
		return err
	}
	if r.JSON {
		if err := r.json(b); err != nil {
			return err
		}
	}
	return fmt.Errorf("nothing was asked: %s in %s", cli.Plural(len(faults), "fault"), r.Requests)
}

// summarise prints the end.
func (r *batchRun) summarise(b batch.Batch, output, errorFile string) error {
	n, took := b.RequestCounts, time.Since(r.state.Begun)
	var err error
	if r.JSON {
		err = r.json(struct {
			Batch     string       `json:"batch"`
			Status    batch.Status `json:"status"`
			Total     int          `json:"total"`
			Completed int          `json:"completed"`
			Failed    int          `json:"failed"`
			Input     int64        `json:"inputTokens"`
			Tokens    int64        `json:"outputTokens"`
			Seconds   float64      `json:"seconds"`
			Output    string       `json:"output"`
			Errors    string       `json:"errors,omitempty"`
		}{b.ID, b.Status, n.Total, n.Completed, n.Failed, b.Usage.InputTokens, b.Usage.OutputTokens, took.Seconds(), r.Output, errorFile})
	} else {
		r.say("%s of %s answered in %s, %s in and %s out: %s", cli.Count(n.Completed), cli.Plural(n.Total, "line"),
			cli.Duration(took), cli.Plural(b.Usage.InputTokens, "token"), cli.Count(b.Usage.OutputTokens), r.Output)
	}
	if err != nil || b.Status == batch.Completed && n.Failed == 0 {
		return err
	}
	if b.Status != batch.Completed {
		return fmt.Errorf("the batch is %s: %s without an answer, see %s", b.Status, cli.Plural(n.Failed, "line"), r.errorsPath())
	}
	return fmt.Errorf("%s failed, see %s", cli.Plural(n.Failed, "line"), errorFile)
}
