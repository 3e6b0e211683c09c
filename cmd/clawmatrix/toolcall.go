package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"lobstah/internal/cli"
	"lobstah/mesh/tool"
)

// A toolCall is one call by a command, on any node, through this machine's node.
type toolCall struct {
	node string
	tool string
	args any
	key  string
	on   func(*tool.Event) // output while it comes; nil for none
}

// callFlags are the flags of all commands that call a tool.
type callFlags struct {
	Key  string `placeholder:"KEY" help:"Idempotency key: the call happens at most once under it, is tried again when the way breaks, and outlives a lost connection for a minute."`
	JSON bool   `name:"json" help:"Print the whole answer as JSON."`
}

// invoke makes the call and returns how it ended.
func (a *app) invoke(ctx context.Context, c toolCall) (*tool.Event, error) {
	args, err := json.Marshal(c.args)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(tool.Request{Tool: c.tool, Args: args, IdempotencyKey: c.key, Stream: true})
	if err != nil {
		return nil, err
	}
	response, err := a.local(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(c.node)+"/tools/invoke", body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var last *tool.Event
	err = tool.ReadEvents(response.Body, func(e *tool.Event) error {
		last = e
		if c.on != nil && e.Type == tool.EventOutput {
			c.on(e)
		}
		return nil
	})
	switch {
	case err != nil && ctx.Err() == nil:
		return nil, fmt.Errorf("this machine's node broke off in the middle of the call, so its outcome is not known: %w", err)
	case err != nil:
		return nil, err
	case last.Error != nil:
		return last, toolError(last.Error)
	}
	return last, nil
}

// local asks this machine's node. A refusal keeps its hint.
func (a *app) local(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	holder, _, err := a.running()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", holder.Socket)
		},
		DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://clawmatrix"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask this machine's node: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, toolError(tool.ReadError(response))
}

func toolError(e *tool.Error) error {
	err := error(e)
	if e.Node != "" {
		err = fmt.Errorf("%s: %w", e.Node, e)
	}
	if e.Hint == "" {
		return err
	}
	return cli.Hintf(err, "%s", cli.CleanLine(e.Hint))
}

// answer prints the result of a call: as JSON, or its texts.
func (a *app) answer(end *tool.Event, asJSON bool) error {
	if asJSON {
		return a.json(tool.Response{Executor: *end.Executor, Result: end.Result, Replayed: end.Replayed})
	}
	for _, part := range end.Result.Content {
		if part.Type != "text" {
			a.note("[%s of %d bytes; --json prints it]", part.Type, len(part.Data)+len(part.Resource))
			continue
		}
		fmt.Fprint(a.Out, a.shown(part.Text))
	}
	return nil
}

// shown is text of another node: cleaned for a terminal, as it is for a program.
func (a *app) shown(text string) string {
	if cli.Terminal(a.Out) {
		return cli.Clean(text)
	}
	return text
}

// failed says of a call that was made that the tool failed.
func failed(end *tool.Event) error {
	if end.Result.IsError {
		return cli.Exit(cli.Failure)
	}
	return nil
}

// input reads a text argument: "-" is standard input.
func (a *app) input(text string, most int64) (string, error) {
	if text != "-" {
		return text, nil
	}
	data, err := io.ReadAll(io.LimitReader(a.In, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("standard input has more than %d bytes", most)
	}
	return string(data), err
}

// output copies what a command wrote, each stream to its own.
func (a *app) output(e *tool.Event) {
	to := a.Out
	if e.Stream == "stderr" {
		to = a.Err
	}
	data := e.Data()
	if cli.Terminal(to) {
		data = []byte(cli.Clean(string(data)))
	}
	_, _ = to.Write(data) // a reader that left is told by the next thing that is printed
}

var errNoFile = errors.New("there is no file of this name")

// localFile reads a file of this machine for write.
func localFile(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(errNoFile, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, err
}
