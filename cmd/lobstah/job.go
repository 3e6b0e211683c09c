package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/jobs"
	"lobstah/internal/cli"
	"lobstah/openai"
	"lobstah/receipt"
)

type jobCommand struct {
	Submit jobSubmitCommand `cmd:"" help:"Leave a question, to be answered when there is time."`
	List   jobListCommand   `cmd:"" help:"The jobs of the router that runs here."`
	Get    jobGetCommand    `cmd:"" help:"How a job stands."`
	Result jobResultCommand `cmd:"" help:"Print a job's answer."`
	Cancel jobCancelCommand `cmd:"" help:"End a job that has not ended."`
}

type jobSubmitCommand struct {
	clientSettings `embed:""`
	Question       []string          `arg:"" optional:"" help:"The question; - reads it from standard input."`
	Model          string            `short:"m" placeholder:"NAME" help:"The model to ask; by default one that is in memory."`
	System         string            `placeholder:"TEXT" help:"Instructions for the model."`
	Request        string            `placeholder:"FILE" help:"Send this request for a chat completion, JSON, instead of a question; - reads it from standard input."`
	Note           map[string]string `placeholder:"NAME=TEXT" help:"Kept with the job; repeatable."`
	Tier           grid.Tier         `default:"batch" enum:"interactive,batch,best-effort" placeholder:"TIER" help:"Which peers are preferred and what goes first: interactive, batch or best-effort."`
	Key            string            `placeholder:"TEXT" help:"Submitting again with the same key gives the same job."`
	Wait           bool              `short:"w" help:"Wait for the answer and print it."`
	JSON           bool              `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (jobSubmitCommand) Help() string {
	return `The job's id goes to standard output. The router keeps the job until it is
answered, over restarts of any machine, and its answer for a week.

Examples:
  lobstah job submit "summarise the history of Utrecht"
  lobstah job submit --wait --model qwen3:4b "translate to Dutch: good morning"
  id=$(git diff | lobstah job submit --system "Review this change." -)
  lobstah job submit --request request.json --note source=nightly --key night-17`
}

func (c *jobSubmitCommand) Run(ctx context.Context, a *app) error {
	client, err := a.client(c.clientSettings)
	if err != nil {
		return err
	}
	body, err := c.body(ctx, a, client)
	if err != nil {
		return err
	}
	header := http.Header{grid.TierHeader: {string(c.Tier)}}
	if key := c.Key; key != "" {
		header.Set(grid.IdempotencyHeader, key)
	} else {
		header.Set(grid.IdempotencyHeader, receipt.NewNonce()) // a connection may be tried again
	}
	var job grid.Job
	if err := client.job(ctx, http.MethodPost, "", header, body, &job); err != nil {
		return err
	}
	if c.Wait {
		if !c.JSON {
			a.note("%s", a.Style(a.Err).Dim("job "+job.ID))
		}
		if job.Waiting != "" && !c.JSON {
			a.note("it waits: %s", cli.CleanLine(job.Waiting))
		}
		return a.awaitJob(ctx, client, job.ID, c.JSON)
	}
	if c.JSON {
		return a.json(job)
	}
	a.say("%s", cli.CleanLine(job.ID))
	if job.Waiting != "" {
		a.note("it waits: %s", cli.CleanLine(job.Waiting))
	}
	a.note("%s", a.Style(a.Err).Dim("its answer: lobstah job result --wait "+cli.CleanLine(job.ID)))
	return nil
}

// body is the request that was typed or is in the file.
func (c *jobSubmitCommand) body(ctx context.Context, a *app, client *apiClient) ([]byte, error) {
	switch {
	case c.Request != "" && (len(c.Question) > 0 || c.System != "" || c.Model != ""):
		return nil, cli.Usagef("--request FILE holds the whole request: leave the question, --model and --system out")
	case c.Request != "":
		return c.fromFile(a)
	}
	question := strings.Join(c.Question, " ")
	if question == "-" {
		text, err := a.input("-", maxQuestion)
		if err != nil {
			return nil, err
		}
		question = string(text)
	}
	if strings.TrimSpace(question) == "" {
		return nil, cli.Hintf(cli.Usagef("the question is empty"), "lobstah job submit \"QUESTION\", or --request FILE")
	}
	request := chatRequest{Model: c.Model, Messages: []message{{"user", question}}}
	if c.System != "" {
		request.Messages = slices.Insert(request.Messages, 0, message{"system", c.System})
	}
	if request.Model == "" {
		var err error
		request.Model, err = a.pickModel(ctx, client)
		if errors.Is(err, errNoModel) {
			return nil, cli.Hintf(err, "--model NAME leaves the question for a peer that will have NAME; lobstah status shows the peers")
		}
		if err != nil {
			return nil, err
		}
	}
	return json.Marshal(struct {
		chatRequest
		Metadata map[string]string `json:"metadata,omitempty"`
	}{request, c.Note})
}

func (c *jobSubmitCommand) fromFile(a *app) ([]byte, error) {
	text, err := a.input(c.Request, maxQuestion)
	if err != nil {
		return nil, err
	}
	request, err := openai.ParseRequest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Request, err)
	}
	if len(c.Note) == 0 {
		return text, nil
	}
	notes, err := grid.ParseMetadata(request.Value("metadata"))
	if err != nil {
		return nil, fmt.Errorf("%s: metadata: %w", c.Request, err)
	}
	all := map[string]string{}
	maps.Copy(all, notes)
	maps.Copy(all, c.Note)
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return request.With("metadata", raw), nil
}

type jobListCommand struct {
	clientSettings `embed:""`
	Status         string `default:"" enum:",queued,running,done,error" placeholder:"STATUS" help:"Only these: queued, running, done or error."`
	Limit          int    `default:"20" placeholder:"N" help:"How many, the newest first; at most 100."`
	JSON           bool   `name:"json" help:"Print JSON."`
}

func (c *jobListCommand) Run(ctx context.Context, a *app) error {
	client, err := a.client(c.clientSettings)
	if err != nil {
		return err
	}
	var page struct {
		Data    []grid.Job `json:"data"`
		HasMore bool       `json:"has_more"`
	}
	query := url.Values{"limit": {fmt.Sprint(c.Limit)}}
	if c.Status != "" {
		query.Set("status", c.Status)
	}
	if err := client.job(ctx, http.MethodGet, "?"+query.Encode(), nil, nil, &page); err != nil {
		return err
	}
	switch {
	case c.JSON:
		return a.json(page.Data)
	case len(page.Data) == 0:
		a.note("There are no jobs. Leave one with: lobstah job submit \"QUESTION\"")
		return nil
	}
	table := cli.Table{}
	table.Row("JOB", "STATUS", "MODEL", "SUBMITTED", "TOOK", "NOTES")
	for _, j := range page.Data {
		table.Row(j.ID, statusOf(j), j.Model, when(time.UnixMilli(j.CreatedAt)), took(j), notesOf(j.Metadata))
	}
	if err := table.Print(a.Out, ""); err != nil {
		return err
	}
	if page.HasMore {
		a.note("There are more: --limit N")
	}
	return nil
}

func statusOf(j grid.Job) string {
	if j.Error != nil {
		return j.Status + " (" + j.Error.Type + ")"
	}
	return j.Status
}

// took is how long a job took from its submission to its end.
func took(j grid.Job) string {
	if j.CompletedAt == 0 {
		return ""
	}
	return cli.Duration(time.Duration(j.CompletedAt-j.CreatedAt) * time.Millisecond)
}

func notesOf(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+"="+m[name])
	}
	return strings.Join(list, " ")
}

// oneJob are the flags of commands for one job.
type oneJob struct {
	clientSettings `embed:""`
	ID             string `arg:"" help:"As lobstah job submit printed it; its beginning is enough."`
	JSON           bool   `name:"json" help:"Print JSON."`
}

// find returns the router and the whole id of a job of which the beginning was
// typed.
func (c *oneJob) find(ctx context.Context, a *app) (*apiClient, string, error) {
	client, err := a.client(c.clientSettings)
	if err != nil || len(c.ID) >= 36 {
		return client, c.ID, err
	}
	var page struct {
		Data []grid.Job `json:"data"`
	}
	if err := client.job(ctx, http.MethodGet, "?limit=100", nil, nil, &page); err != nil {
		return nil, "", err
	}
	var found []string
	for _, j := range page.Data {
		if strings.HasPrefix(j.ID, c.ID) {
			found = append(found, j.ID)
		}
	}
	switch len(found) {
	case 0:
		return nil, "", cli.Hintf(fmt.Errorf("no job begins with %s", c.ID), "lobstah job list shows the newest")
	case 1:
		return client, found[0], nil
	}
	return nil, "", fmt.Errorf("%d jobs begin with %s", len(found), c.ID)
}

type jobGetCommand struct{ oneJob }

func (c *jobGetCommand) Run(ctx context.Context, a *app) error {
	client, id, err := c.find(ctx, a)
	if err != nil {
		return err
	}
	var j grid.Job
	if err := client.job(ctx, http.MethodGet, "/"+id, nil, nil, &j); err != nil {
		return err
	}
	if c.JSON {
		return a.json(j)
	}
	facts := cli.Table{}
	facts.Row("job", j.ID)
	facts.Row("status", statusOf(j))
	if j.Position > 0 {
		facts.Row("position", cli.Count(j.Position))
	}
	if j.Waiting != "" {
		facts.Row("waits", j.Waiting)
	}
	if j.Error != nil && j.Error.Message != "" {
		facts.Row("error", j.Error.Message)
	}
	facts.Row("model", j.Model)
	facts.Row("tier", string(j.Tier))
	facts.Row("submitted", when(time.UnixMilli(j.CreatedAt)))
	if j.StartedAt > 0 {
		facts.Row("started", when(time.UnixMilli(j.StartedAt)))
	}
	if j.CompletedAt > 0 {
		facts.Row("ended", when(time.UnixMilli(j.CompletedAt))+", after "+took(j))
	}
	if len(j.Metadata) > 0 {
		facts.Row("notes", notesOf(j.Metadata))
	}
	if j.ExpiresAt > 0 {
		facts.Row("kept until", when(time.UnixMilli(j.ExpiresAt)))
	}
	return facts.Print(a.Out, "")
}

type jobResultCommand struct {
	oneJob
	Wait bool `short:"w" help:"Wait for the answer."`
}

// Help is printed by --help.
func (jobResultCommand) Help() string {
	return `The answer's text goes to standard output; with --json, the whole record.
Exit code 1 when there is no answer, or none yet.`
}

func (c *jobResultCommand) Run(ctx context.Context, a *app) error {
	client, id, err := c.find(ctx, a)
	if err != nil {
		return err
	}
	if c.Wait {
		return a.awaitJob(ctx, client, id, c.JSON)
	}
	var j grid.Job
	if err := client.job(ctx, http.MethodGet, "/"+id, nil, nil, &j); err != nil {
		return err
	}
	return a.printResult(j, c.JSON)
}

type jobCancelCommand struct{ oneJob }

// Help is printed by --help.
func (jobCancelCommand) Help() string {
	return `A job that runs is stopped where it runs. It costs nothing.`
}

func (c *jobCancelCommand) Run(ctx context.Context, a *app) error {
	client, id, err := c.find(ctx, a)
	if err != nil {
		return err
	}
	var j grid.Job
	if err := client.job(ctx, http.MethodDelete, "/"+id, nil, nil, &j); err != nil {
		return err
	}
	if c.JSON {
		return a.json(j)
	}
	a.say("cancelled %s", cli.CleanLine(j.ID))
	return nil
}

const (
	jobHold  = 30 * time.Second // that the router holds an answer back for
	jobRetry = 2 * time.Second  // while no router answers
)

// awaitJob waits for a job's end, over restarts of the router, and prints it.
func (a *app) awaitJob(ctx context.Context, client *apiClient, id string, asJSON bool) error {
	done := a.Progress("waiting for job " + cli.CleanLine(id))
	j, err := client.awaitJob(ctx, id)
	done()
	if err != nil {
		if ctx.Err() != nil {
			return cli.Hintf(errors.New("interrupted; the job goes on"), "lobstah job result --wait %s", id)
		}
		return err
	}
	return a.printResult(j, asJSON)
}

func (c *apiClient) awaitJob(ctx context.Context, id string) (j grid.Job, err error) {
	for {
		err = c.job(ctx, http.MethodGet, fmt.Sprintf("/%s?wait=%d", id, int(jobHold.Seconds())), nil, nil, &j)
		_, answered := errors.AsType[*refusedError](err)
		switch {
		case ctx.Err() != nil:
			return j, context.Cause(ctx)
		case answered || err == nil && j.CompletedAt > 0:
			return j, err
		case err == nil:
			continue
		}
		select { // the router may be starting again
		case <-time.After(jobRetry):
		case <-ctx.Done():
		}
	}
}

// printResult prints a job that has ended, or says that it has not.
func (a *app) printResult(j grid.Job, asJSON bool) error {
	if asJSON {
		if err := a.json(j); err != nil || j.Status == "done" {
			return err
		}
		return cli.Exit(cli.Failure)
	}
	switch {
	case j.Error != nil:
		return fmt.Errorf("the job has no answer: %s", cli.CleanLine(cmp.Or(j.Error.Message, j.Error.Type)))
	case j.Status != "done":
		why := ""
		if j.Waiting != "" {
			why = " and waits: " + cli.CleanLine(j.Waiting)
		}
		return cli.Hintf(fmt.Errorf("the job is %s%s", cli.CleanLine(j.Status), why), "lobstah job result --wait %s", j.ID)
	}
	var answer struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(j.Result, &answer); err != nil || len(answer.Choices) == 0 {
		return cli.Hintf(errors.New("the answer has no text"), "--json prints all of it")
	}
	text := answer.Choices[0].Message.Content
	fmt.Fprint(a.Out, cli.Clean(text))
	if !strings.HasSuffix(text, "\n") {
		a.say("")
	}
	return nil
}

// job makes a request about jobs; rest is what follows their path.
func (c *apiClient) job(ctx context.Context, method, rest string, header http.Header, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base+jobs.Path+rest, bytes.NewReader(body))
	if err != nil {
		return err
	}
	maps.Copy(r.Header, header)
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, grid.MaxJobBytes+maxPage))
	switch {
	case err != nil:
		return fmt.Errorf("read the router's answer: %w", err)
	case response.StatusCode >= 300:
		return &refusedError{c.refused(response.StatusCode, openai.ParseError(response.StatusCode, text)), response.StatusCode}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s%s answers something that a router does not: %w", c.base, jobs.Path, err)
	}
	return nil
}
