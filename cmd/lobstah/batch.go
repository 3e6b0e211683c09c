package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/cli"
)

type batchCommand struct {
	Run    batchRunCommand    `cmd:"" help:"Answer a file of requests, and write the answers to another."`
	List   batchListCommand   `cmd:"" help:"The batches of the router that runs here."`
	Status batchStatusCommand `cmd:"" help:"How a batch does."`
	Cancel batchCancelCommand `cmd:"" help:"End a batch early; answers so far are kept."`
}

type batchListCommand struct {
	clientSettings `embed:""`
	Limit          int  `default:"20" placeholder:"N" help:"How many, the newest first; at most 100."`
	JSON           bool `name:"json" help:"Print JSON."`
}

func (c *batchListCommand) Run(ctx context.Context, a *app) error {
	client, err := a.batchClient(c.clientSettings)
	if err != nil {
		return err
	}
	list, err := client.list(ctx, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(list)
	}
	if len(list) == 0 {
		a.note("There are no batches. Begin one with: lobstah batch run requests.jsonl -o results.jsonl")
		return nil
	}
	table := cli.Table{Right: []int{2, 3, 4}}
	table.Row("BATCH", "STATUS", "DONE", "FAILED", "OF", "BEGUN", "MODEL")
	for _, b := range list {
		n := b.RequestCounts
		table.Row(b.ID, string(b.Status), cli.Count(n.Completed), cli.Count(n.Failed), cli.Count(n.Total), when(time.Unix(b.CreatedAt, 0)), modelOf(b))
	}
	return table.Print(a.Out, "")
}

func modelOf(b batch.Batch) string {
	if b.Model == nil {
		return ""
	}
	return *b.Model
}

type batchStatusCommand struct {
	clientSettings `embed:""`
	ID             string `arg:"" help:"As lobstah batch list prints it."`
	JSON           bool   `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (batchStatusCommand) Help() string {
	return `Exit code 0 while it runs and when it is complete, 1 when it failed, expired or
was cancelled.`
}

func (c *batchStatusCommand) Run(ctx context.Context, a *app) error {
	client, err := a.batchClient(c.clientSettings)
	if err != nil {
		return err
	}
	b, err := client.get(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		err = a.json(b)
	} else {
		err = a.printBatch(b)
	}
	if err == nil && b.Status.Ended() && b.Status != batch.Completed {
		return cli.Exit(cli.Failure)
	}
	return err
}

func (a *app) printBatch(b batch.Batch) error {
	n := b.RequestCounts
	table := cli.Table{}
	table.Row("batch", b.ID)
	table.Row("status", string(b.Status))
	table.Row("lines", fmt.Sprintf("%s done, %s failed, of %s", cli.Count(n.Completed), cli.Count(n.Failed), cli.Count(n.Total)))
	table.Row("tokens", fmt.Sprintf("%s in, %s out", cli.Count(b.Usage.InputTokens), cli.Count(b.Usage.OutputTokens)))
	table.Row("endpoint", b.Endpoint)
	if b.Model != nil {
		table.Row("model", *b.Model)
	}
	table.Row("begun", when(time.Unix(b.CreatedAt, 0)))
	if !b.Status.Ended() {
		table.Row("until", when(time.Unix(b.ExpiresAt, 0))+" at the latest")
	}
	if b.Now != nil {
		table.Row("now", fmt.Sprintf("%s being asked, %s so far", cli.Plural(b.Now.Running, "line"), cli.Plural(b.Now.Retries, "retry")))
		if b.Now.Waiting != "" {
			table.Row("waiting", b.Now.Waiting)
		}
	}
	for name, id := range map[string]*string{"results": b.OutputFileID, "errors": b.ErrorFileID} {
		if id != nil {
			table.Row(name, "GET /v1/files/"+*id+"/content")
		}
	}
	if err := table.Print(a.Out, ""); err != nil || b.Errors == nil {
		return err
	}
	for _, f := range b.Errors.Data {
		a.say("%s", faultText("", f))
	}
	return nil
}

// faultText is one thing that is wrong with an input, as compilers write it.
func faultText(file string, f batch.Fault) string {
	at := file
	if f.Line != nil {
		at = fmt.Sprintf("%s:%d", file, *f.Line)
		if file == "" {
			at = fmt.Sprintf("line %d", *f.Line)
		}
	}
	if at != "" {
		at += ": "
	}
	return cli.CleanLine(fmt.Sprintf("%s%s (%s)", at, f.Message, f.Code))
}

type batchCancelCommand struct {
	clientSettings `embed:""`
	ID             string `arg:"" help:"As lobstah batch list prints it."`
}

// Help is printed by --help.
func (batchCancelCommand) Help() string {
	return `Lines that are being asked are still answered; the others are not asked any more.`
}

func (c *batchCancelCommand) Run(ctx context.Context, a *app) error {
	client, err := a.batchClient(c.clientSettings)
	if err != nil {
		return err
	}
	var b batch.Batch
	if err := client.call(ctx, http.MethodPost, "/v1/batches/"+c.ID+"/cancel", nil, &b); err != nil {
		return err
	}
	a.say("%s is %s", b.ID, b.Status)
	return nil
}
