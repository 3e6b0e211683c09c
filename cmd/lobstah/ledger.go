package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"lobstah/internal/cli"
	"lobstah/ledger"
)

type ledgerCommand struct {
	List   ledgerListCommand   `cmd:"" default:"withargs" help:"Print receipts, the newest first (what ledger alone does)."`
	Export ledgerExportCommand `cmd:"" help:"Write all receipts as JSON Lines, the original's form."`
	Import ledgerImportCommand `cmd:"" help:"Take receipts in from JSON Lines."`
	Verify ledgerVerifyCommand `cmd:"" help:"Check every receipt, the accounts and the signed tree over them."`
}

type ledgerListCommand struct {
	Peer  string        `placeholder:"KEY" help:"Only those with this key, or peer's label, on either side."`
	Model string        `placeholder:"NAME" help:"Only those for this model."`
	Side  string        `placeholder:"SIDE" enum:",worker,requester,other" default:"" help:"Only our side: worker (we served) or requester (we asked); other is what was imported."`
	Since time.Duration `placeholder:"TIME" help:"Only the last so long, such as 24h."`
	Limit int           `default:"50" placeholder:"N" help:"At most so many, 10,000 at most."`
	JSON  bool          `name:"json" help:"Print JSON Lines: seq, side, imported, at, receipt, signature."`
}

// Help is printed by --help.
func (ledgerListCommand) Help() string {
	return `Examples:
  lobstah ledger list --limit 10
  lobstah ledger list --side worker --since 24h
  lobstah ledger list --peer "Ann's workstation" --json`
}

func (c *ledgerListCommand) filter(a *app) (ledger.Filter, error) {
	f := ledger.Filter{Peer: c.Peer, Model: c.Model, Limit: c.Limit}
	if c.Limit < 1 {
		return f, cli.Usagef("--limit: want a number above 0")
	}
	if c.Peer != "" && c.Peer != "anonymous" {
		id, err := a.peerID(c.Peer)
		if err != nil {
			return f, err
		}
		f.Peer = id.String()
	}
	if c.Side != "" {
		if err := f.Side.UnmarshalText([]byte(c.Side)); err != nil {
			return f, cli.Usagef("--side: %v", err)
		}
	}
	if c.Since > 0 {
		f.After = time.Now().Add(-c.Since)
	}
	return f, nil
}

func (c *ledgerListCommand) Run(ctx context.Context, a *app) error {
	f, err := c.filter(a)
	if err != nil {
		return err
	}
	book, err := a.readBook(ctx)
	if err != nil {
		return err
	}
	defer book.Close()
	entries, err := book.List(ctx, f)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printEntriesJSON(entries)
	}
	if len(entries) == 0 {
		a.say("no receipts")
		return nil
	}
	return a.printEntries(entries)
}

type entryJSON struct {
	Seq      int64       `json:"seq"`
	Side     ledger.Side `json:"side"`
	Imported bool        `json:"imported"`
	At       time.Time   `json:"at"`
	json.RawMessage
}

// MarshalJSON puts the envelope's members beside ours.
func (e entryJSON) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"seq":%d,"side":%q,"imported":%t,"at":%q,%s`,
		e.Seq, e.Side, e.Imported, e.At.UTC().Format(time.RFC3339Nano), e.RawMessage[1:]), nil
}

func (a *app) printEntriesJSON(entries []ledger.Entry) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	for _, e := range entries {
		if err := enc.Encode(entryJSON{e.Seq, e.Side, e.Imported, e.At, e.Signed.Envelope()}); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printEntries(entries []ledger.Entry) error {
	names := a.names()
	table := cli.Table{Right: []int{0, 4}}
	table.Row("ENTRY", "TIME", "WORKER", "REQUESTER", "TOKENS", "MODEL", "RECEIPT", "")
	for _, e := range entries {
		remark := ""
		switch {
		case e.Imported:
			remark = "imported"
		case e.Signed.SelfServed():
			remark = "to itself"
		}
		s := e.Signed
		table.Row(cli.Count(e.Seq), when(s.CompletedAt), names.of(s.Worker.String()), names.of(s.Requester),
			cli.Count(s.Total()), s.Model, s.Nonce, remark)
	}
	return table.Print(a.Out, "")
}

type ledgerExportCommand struct {
	File string `arg:"" optional:"" default:"-" help:"Where to write; - is standard output."`
}

func (c *ledgerExportCommand) Run(ctx context.Context, a *app) (err error) {
	book, err := a.readBook(ctx)
	if err != nil {
		return err
	}
	defer book.Close()
	var sum ledger.Exported
	if c.File == "-" {
		sum, err = book.Export(ctx, a.Out)
	} else {
		sum, err = exportFile(ctx, book, c.File)
	}
	if err != nil {
		return err
	}
	a.note("wrote %s", cli.Plural(sum.Written, "receipt"))
	if sum.Unreadable > 0 {
		return cli.Hintf(fmt.Errorf("%s could not be read", cli.Plural(sum.Unreadable, "entry of the ledger")), "lobstah ledger verify names them")
	}
	return nil
}

// exportFile writes a whole file or, when that fails, none.
func exportFile(ctx context.Context, book ledger.Ledger, path string) (sum ledger.Exported, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".lobstah-export-*")
	if err != nil {
		return sum, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if sum, err = book.Export(ctx, f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return sum, err
	}
	return sum, os.Rename(f.Name(), path)
}

type ledgerImportCommand struct {
	File string `arg:"" help:"JSON Lines, such as the original's ledger.jsonl; - reads standard input."`
	JSON bool   `name:"json" help:"Print JSON Lines: one for each line, then the sums."`
}

// Help is printed by --help.
func (ledgerImportCommand) Help() string {
	return `Every line is verified. Lines that are there already are passed over, bad ones
are named and left out. Imported receipts are kept and shown, but give nobody
credit: whoever has a key could sign any number of them.

Example:
  lobstah ledger import ~/.lobstah/ledger.jsonl`
}

func (c *ledgerImportCommand) Run(ctx context.Context, a *app) error {
	r := a.In
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	id, _, err := a.identity(ctx)
	if err != nil {
		return err
	}
	book, err := a.openBook(ctx, id.Pair)
	if err != nil {
		return err
	}
	done := a.Progress("importing")
	var lines []ledger.Line
	sum, err := book.Import(ctx, r, func(l ledger.Line) {
		if c.JSON || l.Status == ledger.LineRefused {
			lines = append(lines, l)
		}
	})
	done()
	if closing := book.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return c.report(a, lines, sum)
}

func (c *ledgerImportCommand) report(a *app, lines []ledger.Line, sum ledger.Imported) error {
	if c.JSON {
		enc := json.NewEncoder(a.Out)
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		if err := enc.Encode(sum); err != nil {
			return err
		}
	} else {
		for _, l := range lines {
			a.say("line %d: refused: %s", l.Number, cli.CleanLine(l.Reason))
		}
		a.say("imported %s; %d were there already, %d refused", cli.Plural(sum.Imported, "receipt"), sum.Duplicates, sum.Refused)
	}
	if sum.Refused > 0 {
		return cli.Exit(cli.Failure)
	}
	return nil
}

type ledgerVerifyCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *ledgerVerifyCommand) Run(ctx context.Context, a *app) error {
	book, err := a.readBook(ctx)
	if err != nil {
		return err
	}
	defer book.Close()
	done := a.Progress("verifying")
	report, err := book.Verify(ctx)
	done()
	if err != nil {
		return err
	}
	if c.JSON {
		err = a.json(report)
	} else {
		a.printReport(report)
	}
	if err == nil && !report.OK() {
		return cli.Exit(cli.Failure)
	}
	return err
}

func (a *app) printReport(r ledger.Report) {
	style := a.Style(a.Out)
	for _, f := range r.Faults {
		a.say("%s: %s", style.Red("BAD"), cli.CleanLine(f.String()))
	}
	if more := r.FaultCount - int64(len(r.Faults)); more > 0 {
		a.say("and %d more", more)
	}
	facts := cli.Table{}
	facts.Row("ledger", a.home.Ledger)
	facts.Row("owner", r.Owner.String())
	facts.Row("receipts", fmt.Sprintf("%s, %s of them imported", cli.Count(r.Entries), cli.Count(r.Imported)))
	facts.Row("tree root", r.Root.String())
	facts.Row("checkpoints", fmt.Sprintf("%s, the last one over %s", cli.Count(r.Checkpoints), cli.Plural(r.Signed, "receipt")))
	facts.Print(a.Out, "")
	if r.OK() {
		a.say("%s: every receipt is genuine, the accounts add up, and the ledger only ever grew", style.Green("ok"))
		return
	}
	a.say("%s: %s", style.Red("BAD"), cli.Plural(r.FaultCount, "fault"))
	a.note("Save what can be read: lobstah ledger export FILE; move %s away; lobstah ledger import FILE", a.home.Ledger)
}
