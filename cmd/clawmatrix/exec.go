package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"lobstah/internal/cli"
	"lobstah/mesh/tool"
)

// notRun is the exit code of exec when the command did not run or its end is not
// known, as ssh has it: others are the command's own.
const notRun = 255

type execCommand struct {
	Node    string            `arg:"" help:"NODE, its key, or tags:TAG."`
	Command []string          `arg:"" passthrough:"" help:"One word is a line for the shell; several are a program and its arguments, run as they are."`
	Workdir string            `placeholder:"DIR" help:"Folder to run in, there."`
	Timeout float64           `placeholder:"SECONDS" help:"End it after this time; 1800 by default."`
	Env     map[string]string `placeholder:"NAME=VALUE" help:"Variables to add."`
	callFlags
}

// Help is printed by --help.
func (execCommand) Help() string {
	return `Runs a command on a node that lends its exec to this one. What it writes comes
while it runs, at most 1 MiB of it: the beginning and the end. The exit code is
the command's own, or 255 when it did not run or how it ended is not known.
Ctrl-C ends the command there with all that it started.

It runs on that node or nowhere. When the way breaks in the middle, the command is
ended; with --key it goes on for a minute, and asking again joins it. With --key
all that it wrote is printed when it has ended.

Examples:
  clawmatrix exec office-01 "make test 2>&1 | tail -20"
  clawmatrix exec office-01 --workdir src/app -- git log --oneline -5
  clawmatrix exec --key night-1 tags:gpu ./train.sh`
}

func (c *execCommand) Run(ctx context.Context, a *app) error {
	args := tool.ExecArgs{Workdir: c.Workdir, Timeout: c.Timeout, Env: c.Env}
	words := c.Command
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		return cli.Usagef("exec wants a command")
	case len(words) == 1:
		args.Command = words[0]
	case strings.ContainsRune(words[0], ' ') && strings.HasPrefix(words[1], "--"):
		return cli.Hintf(cli.Usagef("%s stands behind the command, so it would be the command's", words[1]), "flags of exec come first: clawmatrix exec %s ... %s %q", words[1], c.Node, words[0])
	default:
		args.Argv = words
	}
	call := toolCall{node: c.Node, tool: tool.Exec, args: args, key: c.Key}
	whole := c.JSON || c.Key != "" // under a key output may be lost with its connection, and the result has it all
	if !whole {
		call.on = a.output
	}
	end, err := a.invoke(ctx, call)
	if err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = errors.New("interrupted; the command was ended")
		}
		a.Report(err)
		return cli.Exit(notRun)
	}
	return c.finish(a, end)
}

// finish ends as the command did.
func (c *execCommand) finish(a *app, end *tool.Event) error {
	var details struct {
		Status     string `json:"status"`
		ExitCode   int    `json:"exitCode"`
		ExitSignal string `json:"exitSignal"`
	}
	if err := json.Unmarshal(end.Result.Details, &details); err != nil {
		return fmt.Errorf("%s answered without an exit code: %w", end.Executor.Node, err)
	}
	switch {
	case c.JSON || c.Key != "":
		if err := a.answer(end, c.JSON); err != nil {
			return err
		}
	case details.Status == "timed_out":
		a.note("%s ended the command, because it ran out of time", end.Executor.Node)
	case details.ExitSignal != "":
		a.note("on %s the command was ended by a signal: %s", end.Executor.Node, cli.CleanLine(details.ExitSignal))
	}
	if details.ExitCode < 0 || details.ExitCode > 255 || details.Status != "completed" {
		return cli.Exit(notRun)
	}
	if details.ExitCode == 0 {
		return nil
	}
	return cli.Exit(details.ExitCode)
}

type readCommand struct {
	Node   string `arg:"" help:"NODE, its key, or tags:TAG."`
	Path   string `arg:"" help:"File there."`
	Offset int    `placeholder:"LINE" help:"First line."`
	Limit  int    `placeholder:"LINES" help:"Number of lines."`
	Bytes  bool   `help:"The file's own bytes, whatever it is and however large."`
	JSON   bool   `name:"json" help:"Print the whole answer as JSON."`
}

// Help is printed by --help.
func (readCommand) Help() string {
	return `Prints a file of a node, from the folders that its owner granted to this one.

Examples:
  clawmatrix read office-01 src/app/main.go --offset 10 --limit 20
  clawmatrix read office-01 /srv/data/model.bin --bytes > model.bin`
}

func (c *readCommand) Run(ctx context.Context, a *app) error {
	args := map[string]any{"path": c.Path}
	if c.Bytes && (c.Offset != 0 || c.Limit != 0) {
		return cli.Usagef("--offset and --limit count lines, which --bytes does not know")
	}
	if c.Offset != 0 {
		args["offset"] = c.Offset
	}
	if c.Limit != 0 {
		args["limit"] = c.Limit
	}
	if c.Bytes && !c.JSON {
		return c.copyBytes(ctx, a)
	}
	if c.Bytes {
		args["encoding"] = "base64"
	}
	end, err := a.invoke(ctx, toolCall{node: c.Node, tool: tool.Read, args: args})
	if err != nil && !c.Bytes && strings.Contains(err.Error(), "base64") {
		err = cli.Hintf(err, "clawmatrix read --bytes prints it as it is")
	}
	return errors.Join(err, a.answerIf(end, err, c.JSON))
}

// A filePart is what read tells of a part of a file.
type filePart struct {
	Size      int64  `json:"size"`
	Modified  string `json:"modified"`
	NextStart int64  `json:"nextStart"` // of the next part; 0 when this is the last
}

// copyBytes prints a file of any size, part for part, all of the node that gave
// the first one.
func (c *readCommand) copyBytes(ctx context.Context, a *app) error {
	var first filePart
	node := c.Node
	for start := int64(0); ; {
		end, err := a.invoke(ctx, toolCall{node: node, tool: tool.Read, args: map[string]any{"path": c.Path, "encoding": "base64", "start": start}})
		if err != nil {
			return err
		}
		data, err := base64.StdEncoding.DecodeString(end.Result.String())
		var part filePart
		if err = errors.Join(err, json.Unmarshal(end.Result.Details, &part)); err != nil {
			return fmt.Errorf("%s answered with something else than the file: %w", end.Executor.Node, err)
		}
		if start == 0 {
			first, node = part, end.Executor.Key.String()
		}
		if part.Size != first.Size || part.Modified != first.Modified {
			return fmt.Errorf("%s: %s changed while it was read, so what came is not whole", end.Executor.Node, c.Path)
		}
		if _, err := a.Out.Write(data); err != nil {
			return err
		}
		switch next := part.NextStart; {
		case next == 0 && start+int64(len(data)) == part.Size:
			return nil
		case next != start+int64(len(data)) || len(data) == 0:
			return fmt.Errorf("%s: %s ended after %d of %d bytes", end.Executor.Node, c.Path, start+int64(len(data)), part.Size)
		default:
			start = next
		}
	}
}

// answerIf prints the end of a call that did not fail before.
func (a *app) answerIf(end *tool.Event, err error, asJSON bool) error {
	if err != nil {
		return nil
	}
	return errors.Join(a.answer(end, asJSON), failed(end))
}

type writeCommand struct {
	Node    string `arg:"" help:"NODE, its key, or tags:TAG."`
	Path    string `arg:"" help:"File there; it is created or replaced."`
	Content string `arg:"" optional:"" help:"What it shall hold; - reads it from standard input."`
	From    string `placeholder:"FILE" help:"Take the content from a file here."`
	callFlags
}

// Help is printed by --help.
func (writeCommand) Help() string {
	return `Creates or replaces a file on a node, atomically.

Examples:
  clawmatrix write office-01 notes.txt "buy lobsters"
  clawmatrix write office-01 site/logo.png --from logo.png
  date | clawmatrix write office-01 stamp -`
}

// maxWritten keeps a file within what a call may hold as base64.
const maxWritten = tool.MaxRequest/4*3 - 4096

func (c *writeCommand) Run(ctx context.Context, a *app) error {
	content, err := c.content(a)
	if err != nil {
		return err
	}
	args := map[string]any{"path": c.Path, "content": content}
	if !utf8.ValidString(content) {
		args["content"], args["encoding"] = base64.StdEncoding.EncodeToString([]byte(content)), "base64"
	}
	return a.change(ctx, toolCall{node: c.Node, tool: tool.Write, args: args, key: c.Key}, c.JSON)
}

func (c *writeCommand) content(a *app) (string, error) {
	switch {
	case c.From != "" && c.Content != "":
		return "", cli.Usagef("write takes either CONTENT or --from")
	case c.From != "":
		data, err := localFile(c.From, maxWritten)
		return string(data), err
	case c.Content == "":
		return "", cli.Usagef("write wants CONTENT, - or --from FILE")
	}
	return a.input(c.Content, maxWritten)
}

// change makes a call whose answer is one line.
func (a *app) change(ctx context.Context, call toolCall, asJSON bool) error {
	end, err := a.invoke(ctx, call)
	if err != nil {
		return err
	}
	if asJSON {
		return a.answer(end, true)
	}
	a.say("%s: %s", end.Executor.Node, cli.CleanLine(strings.TrimSpace(end.Result.String())))
	return failed(end)
}

type editCommand struct {
	Node string `arg:"" help:"NODE, its key, or tags:TAG."`
	Path string `arg:"" help:"File there."`
	Old  string `arg:"" help:"Text that occurs exactly once in it."`
	New  string `arg:"" help:"Text to put in its place."`
	callFlags
}

// Help is printed by --help.
func (editCommand) Help() string {
	return `Replaces one text in a file on a node, atomically.

Example:
  clawmatrix edit office-01 src/app/config.yaml "port: 80" "port: 8080"`
}

func (c *editCommand) Run(ctx context.Context, a *app) error {
	args := map[string]any{"path": c.Path, "edits": []map[string]string{{"oldText": c.Old, "newText": c.New}}}
	return a.change(ctx, toolCall{node: c.Node, tool: tool.Edit, args: args, key: c.Key}, c.JSON)
}

type toolCommand struct {
	Node string `arg:"" help:"NODE, its key, or tags:TAG."`
	Tool string `arg:"" help:"Name of the tool; clawmatrix tools NODE lists them."`
	Args string `arg:"" optional:"" default:"{}" help:"Its arguments as a JSON object; - reads them from standard input."`
	callFlags
}

// Help is printed by --help.
func (toolCommand) Help() string {
	return `Calls any tool that a node lends to this one: its own, those of its agent
gateway, and those of its MCP servers, as mcp:SERVER/TOOL.

Examples:
  clawmatrix tool office-01 list '{"path":"src"}'
  clawmatrix tool office-01 web_search '{"query":"blue lobsters"}'
  clawmatrix tool office-01 mcp:files/read_file '{"path":"a.txt"}' --json`
}

func (c *toolCommand) Run(ctx context.Context, a *app) error {
	text, err := a.input(c.Args, tool.MaxRequest)
	if err != nil {
		return err
	}
	if !json.Valid([]byte(text)) || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return cli.Usagef("the arguments are no JSON object: %.100s", text)
	}
	end, err := a.invoke(ctx, toolCall{node: c.Node, tool: c.Tool, args: json.RawMessage(text), key: c.Key})
	return errors.Join(err, a.answerIf(end, err, c.JSON))
}

type toolsCommand struct {
	Node string `arg:"" help:"NODE, its key, or tags:TAG."`
	JSON bool   `name:"json" help:"Print JSON, with the schemas of the arguments."`
}

// Help is printed by --help.
func (toolsCommand) Help() string {
	return `Lists the tools of a node that this one may use. What it may do with them, the
node says when they are called.`
}

func (c *toolsCommand) Run(ctx context.Context, a *app) error {
	response, err := a.local(ctx, http.MethodGet, "/v1/nodes/"+url.PathEscape(c.Node)+"/tools", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var listing tool.Listing
	if err := json.NewDecoder(response.Body).Decode(&listing); err != nil {
		return fmt.Errorf("read the list of tools: %w", err)
	}
	if c.JSON {
		return a.json(listing)
	}
	table := cli.Table{}
	for _, t := range listing.Tools {
		table.Row(t.Name, cli.CleanLine(t.Description))
	}
	for _, problem := range listing.Problems {
		a.note("%s: %s", listing.Executor.Node, cli.CleanLine(problem))
	}
	return table.Print(a.Out, "")
}
