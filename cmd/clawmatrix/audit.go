package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"lobstah/internal/cli"
	"lobstah/mesh/tool/audit"
)

type auditCommand struct {
	Caller string `placeholder:"NODE" help:"Only the calls of a node, by name or key."`
	Tool   string `placeholder:"TOOL" help:"Only the calls of a tool."`
	Last   int    `default:"50" placeholder:"N" help:"The last N entries; 0 for all."`
	JSON   bool   `name:"json" help:"Print the entries as JSON Lines."`
}

// Help is printed by --help.
func (auditCommand) Help() string {
	return `Prints what other nodes did here by tools, and what was refused to them. An entry
is written before a call runs, and another when it has ended; one that began and
has no end was cut short by the end of this machine's node.`
}

func (c *auditCommand) Run(a *app) error {
	entries, err := c.entries(a)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(a.Out)
		enc.SetEscapeHTML(false)
		for _, e := range entries {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	if len(entries) == 0 {
		a.note("nothing was asked of this node's tools")
		return nil
	}
	table := cli.Table{}
	table.Row("TIME", "CALLER", "TOOL", "WHAT", "TOOK", "ARGUMENTS OR REASON")
	for _, e := range entries {
		table.Row(e.Time.Local().Format(time.DateTime), cmp.Or(e.CallerName, e.Caller.Short()), e.Tool, whatHappened(e), took(e), cmp.Or(e.Reason, e.Args))
	}
	return table.Print(a.Out, "")
}

// entries reads the last ones that fit; damaged lines are said beside.
func (c *auditCommand) entries(a *app) ([]audit.Entry, error) {
	if c.Last < 0 {
		return nil, cli.Usagef("--last is %d", c.Last)
	}
	var list []audit.Entry
	for e, err := range audit.Read(auditPath(a.home.Dir)) {
		if err != nil {
			a.warn("%s", err)
			continue
		}
		fits := (c.Tool == "" || c.Tool == e.Tool) && (c.Caller == "" || c.Caller == e.CallerName || c.Caller == e.Caller.String())
		if !fits {
			continue
		}
		if list = append(list, e); c.Last > 0 && len(list) > 2*c.Last {
			list = append(list[:0], list[len(list)-c.Last:]...)
		}
	}
	if c.Last > 0 {
		list = list[max(0, len(list)-c.Last):]
	}
	return list, nil
}

func whatHappened(e audit.Entry) string {
	text := e.Phase
	if e.Outcome != "" {
		text += " " + e.Outcome
	}
	if e.ExitCode != nil {
		text += ", exit code " + strconv.Itoa(*e.ExitCode)
	}
	if e.Unlogged > 0 {
		text += fmt.Sprintf(" (and %d refusals before)", e.Unlogged)
	}
	return text
}

func took(e audit.Entry) string {
	if e.Phase != audit.Ended {
		return ""
	}
	return cli.Duration(time.Duration(e.DurationMS) * time.Millisecond)
}
