package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"lobstah/internal/cli"
	"lobstah/receipt"
)

// maxReceiptsBytes caps what is verified at a time.
const maxReceiptsBytes = 256 << 20

type receiptCommand struct {
	Verify  receiptVerifyCommand  `cmd:"" help:"Say whether receipts are genuine."`
	Publish receiptPublishCommand `cmd:"" help:"Make receipts public over Nostr, for good."`
}

type receiptVerifyCommand struct {
	File string `arg:"" help:"A file with one envelope, a JSON array of them, JSON Lines, or a header's value; - reads standard input."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (receiptVerifyCommand) Help() string {
	return `Genuine means that the worker which the receipt names signed it as it stands.
Countersigned means that the requester, too, signed the request which it answers,
so that neither side can have made up the debt alone.

Exit code 0 when all are genuine, 1 when any is not.

Examples:
  lobstah receipt verify receipts.jsonl
  lobstah ledger export | lobstah receipt verify -
  curl -s localhost:17475/ledger | lobstah receipt verify -`
}

func (c *receiptVerifyCommand) Run(a *app) error {
	data, err := a.input(c.File, maxReceiptsBytes)
	if err != nil {
		return err
	}
	verdicts := judge(data)
	if len(verdicts) == 0 {
		return fmt.Errorf("%s holds no receipt", nameOf(c.File))
	}
	bad := 0
	for _, v := range verdicts {
		if !v.Genuine {
			bad++
		}
	}
	if c.JSON {
		err = a.json(verdicts)
	} else {
		a.printVerdicts(verdicts, bad)
	}
	if err == nil && bad > 0 {
		return cli.Exit(cli.Failure)
	}
	return err
}

// input reads a file or standard input, at most limit bytes.
func (a *app) input(file string, limit int64) ([]byte, error) {
	r := a.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", nameOf(file), limit)
	}
	return data, err
}

func nameOf(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

// A verdict is what is said of one receipt.
type verdict struct {
	Index         int    `json:"index"`          // from 1
	Line          int    `json:"line,omitempty"` // in JSON Lines
	Genuine       bool   `json:"genuine"`
	Reason        string `json:"reason,omitempty"` // why it is not
	Nonce         string `json:"nonce,omitempty"`
	JobID         string `json:"jobId,omitempty"`
	Worker        string `json:"workerPubkey,omitempty"`
	Requester     string `json:"requesterPubkey,omitempty"`
	Model         string `json:"model,omitempty"`
	Tokens        int64  `json:"tokens"`
	CompletedAt   int64  `json:"completedAt,omitempty"`
	Countersigned bool   `json:"countersigned"`
	Unsigned      string `json:"notCountersigned,omitempty"` // why it is not
}

// judge finds the receipts in data and judges each.
func judge(data []byte) []verdict {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if len(data) == 0 {
		return nil
	}
	if json.Valid(data) {
		return judgeValue(data)
	}
	if data[0] != '{' && data[0] != '[' && bytes.IndexByte(data, '\n') < 0 {
		s, err := receipt.OpenText(string(data))
		return []verdict{verdictOf(1, 0, s, err)}
	}
	return judgeLines(data)
}

func judgeValue(data []byte) []verdict {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		var answer struct{ Receipts []json.RawMessage } // of GET /ledger
		list = []json.RawMessage{data}
		if json.Unmarshal(data, &answer) == nil && answer.Receipts != nil {
			list = answer.Receipts
		}
	}
	verdicts := make([]verdict, len(list))
	for i, raw := range list {
		s, err := receipt.Open(raw)
		verdicts[i] = verdictOf(i+1, 0, s, err)
	}
	return verdicts
}

func judgeLines(data []byte) []verdict {
	var verdicts []verdict
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if text = bytes.TrimSpace(text); len(text) > 0 {
			s, err := receipt.Open(text)
			verdicts = append(verdicts, verdictOf(len(verdicts)+1, line, s, err))
		}
	}
	return verdicts
}

func verdictOf(index, line int, s *receipt.Signed, err error) verdict {
	v := verdict{Index: index, Line: line, Genuine: err == nil}
	if err != nil {
		v.Reason = err.Error()
	}
	if s == nil || errors.Is(err, receipt.ErrSignature) {
		return v
	}
	v.Nonce, v.JobID, v.Model, v.Requester = s.Nonce, s.JobID, s.Model, s.Requester
	v.Worker, v.Tokens, v.CompletedAt = s.Worker.String(), s.Total(), s.CompletedAt.UnixMilli()
	if why := s.Countersigned(); why != nil {
		v.Unsigned = why.Error()
	} else {
		v.Countersigned = true
	}
	return v
}

func (a *app) printVerdicts(verdicts []verdict, bad int) {
	names, style := a.names(), a.Style(a.Out)
	for _, v := range verdicts {
		at := fmt.Sprintf("receipt %d", v.Index)
		if v.Line > 0 {
			at = fmt.Sprintf("line %d", v.Line)
		}
		if !v.Genuine {
			a.say("%s: %s: %s", at, style.Red("BAD"), cli.CleanLine(v.Reason))
			continue
		}
		signed := "countersigned by the requester"
		if !v.Countersigned {
			signed = "not countersigned: " + v.Unsigned
		}
		a.say("%s: %s: %s served %s %s with %s at %s; %s", at, style.Green("genuine"),
			names.of(v.Worker), names.of(v.Requester), cli.Plural(v.Tokens, "token"), cli.CleanLine(v.Model),
			when(time.UnixMilli(v.CompletedAt)), cli.CleanLine(signed))
	}
	if len(verdicts) > 1 {
		a.say("%s: %d genuine, %d bad", cli.Plural(len(verdicts), "receipt"), len(verdicts)-bad, bad)
	}
}
