// Package native is the tools that every node has: exec, read, write, edit, list
// and web_fetch, with the parameter names of OpenClaw's tools.
//
// Make them with [New]; they are a tool.Backend. Commands compose them into a
// tool.Server; this package knows no network beside the pages that it fetches.
//
// Callers are hostile. The policy has judged the names in their arguments; here
// files are opened beneath an os.Root, so that no symbolic link and no race leads
// out of the granted folders, commands run with a scrubbed environment in a group
// that ends as one, and a page is fetched only from addresses that were judged
// when they were dialled. The tools are safe for concurrent use.
package native

import (
	"context"
	"encoding/json"
	"sync"

	"lobstah/mesh/tool"
)

// A Config is what the tools need of their node.
type Config struct {
	Work string   // where commands run when no folder is granted; made when missing
	Env  []string // NAME=value, of this process; commands see a few of them
	Pass []string // names of further variables that commands see
	Web  tool.Web
}

// New makes the tools.
func New(cfg Config) *Tools {
	t := &Tools{cfg: cfg, web: newWeb(cfg.Web)}
	t.runners = map[string]runner{
		tool.Exec: t.exec, tool.Read: t.read, tool.Write: t.write, tool.Edit: t.edit, tool.List: t.list, tool.WebFetch: t.webFetch,
	}
	return t
}

// Tools are the native tools.
type Tools struct {
	cfg     Config
	web     *web
	runners map[string]runner

	writing sync.Mutex // one change of a file at a time, so that two edits do not lose one
}

type runner func(ctx context.Context, call *tool.Call, progress tool.Progress) (*tool.Result, error)

// Has reports whether a tool is one of these.
func (t *Tools) Has(_ context.Context, name string) (bool, error) {
	_, ok := t.runners[name]
	return ok, nil
}

// Call runs one of the tools.
func (t *Tools) Call(ctx context.Context, call *tool.Call, progress tool.Progress) (*tool.Result, error) {
	run, ok := t.runners[call.Tool]
	if !ok {
		return nil, tool.Errorf(tool.CodeUnknown, "no tool %s", call.Tool)
	}
	if err := context.Cause(ctx); err != nil { // what is short is not looked at again while it runs
		return nil, err
	}
	return run(ctx, call, progress)
}

// Tools lists them.
func (t *Tools) Tools(context.Context) ([]tool.Info, error) {
	return []tool.Info{
		info(tool.Exec, "Run a command on this node and return what it writes.", false, execSchema),
		info(tool.Read, "Read a text file, from a line on. Images come as images.", true, readSchema),
		info(tool.Write, "Create or replace a file.", false, writeSchema),
		info(tool.Edit, "Replace texts in a file. Each old text has to occur exactly once.", false, editSchema),
		info(tool.List, "List a folder.", true, listSchema),
		info(tool.WebFetch, "Fetch a page and return its text.", true, webSchema),
	}, nil
}

func info(name, description string, readOnly bool, schema string) tool.Info {
	return tool.Info{Name: name, Description: description, ReadOnly: readOnly, Parameters: json.RawMessage(schema)}
}

// The JSON Schemas of the arguments.
const (
	execSchema = `{"type":"object","additionalProperties":false,"properties":{` +
		`"command":{"type":"string","description":"A line for the shell; where only some commands are granted, words without what a shell would interpret"},` +
		`"argv":{"type":"array","items":{"type":"string"},"description":"Instead of command: a program and its arguments, run as they are"},` +
		`"workdir":{"type":"string","description":"Folder to run in"},` +
		`"env":{"type":"object","additionalProperties":{"type":"string"},"description":"Variables to add"},` +
		`"timeout":{"type":"number","description":"Seconds, 1800 by default"}}}`
	readSchema = `{"type":"object","additionalProperties":false,"required":["path"],"properties":{` +
		`"path":{"type":"string"},` +
		`"offset":{"type":"integer","minimum":1,"description":"First line"},` +
		`"limit":{"type":"integer","minimum":1,"description":"Number of lines"},` +
		`"encoding":{"enum":["utf-8","base64"],"description":"base64 returns the bytes of any file"},` +
		`"start":{"type":"integer","minimum":0,"description":"With base64: a part of the file from this byte on; details say nextStart when more follows"}}}`
	writeSchema = `{"type":"object","additionalProperties":false,"required":["path","content"],"properties":{` +
		`"path":{"type":"string"},"content":{"type":"string"},` +
		`"encoding":{"enum":["utf-8","base64"],"description":"What content is"}}}`
	editSchema = `{"type":"object","additionalProperties":false,"required":["path"],"properties":{` +
		`"path":{"type":"string"},"edits":{"type":"array","minItems":1,"items":{"type":"object","additionalProperties":false,` +
		`"required":["oldText","newText"],"properties":{"oldText":{"type":"string"},"newText":{"type":"string"}}}},` +
		`"oldText":{"type":"string"},"newText":{"type":"string"}}}`
	listSchema = `{"type":"object","additionalProperties":false,"properties":{` +
		`"path":{"type":"string","description":"Folder, by default the first that is granted"},` +
		`"limit":{"type":"integer","minimum":1,"description":"Number of entries, 1000 by default"}}}`
	webSchema = `{"type":"object","additionalProperties":false,"required":["url"],"properties":{` +
		`"url":{"type":"string","description":"http or https"},` +
		`"extractMode":{"enum":["markdown","text"]},` +
		`"maxChars":{"type":"integer","minimum":1}}}`
)
