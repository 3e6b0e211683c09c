package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/receipt"
)

const defaultRouter = "http://127.0.0.1:17475"

// maxQuestion caps what is read from standard input.
const maxQuestion = 16 << 20

type askCommand struct {
	clientSettings `embed:""`
	Question       []string `arg:"" help:"The question; - reads it from standard input."`
	Model          string   `short:"m" placeholder:"NAME" help:"The model to ask; by default one that is in memory."`
	System         string   `placeholder:"TEXT" help:"Instructions for the model."`
	JSON           bool     `name:"json" help:"Print one JSON object instead of streaming."`
}

// Help is printed by --help.
func (askCommand) Help() string {
	return `The answer goes to standard output as it comes; a last line on standard error
says who answered, with which model, for how many tokens, and under which receipt.

Examples:
  lobstah ask "why is the sky blue?"
  lobstah ask --model qwen3:4b "translate to Dutch: good morning"
  git diff | lobstah ask --system "Review this change." -
  lobstah ask --json "hello" | jq .answer`
}

func (c *askCommand) Run(ctx context.Context, a *app) error {
	question := strings.Join(c.Question, " ")
	if question == "-" {
		text, err := a.input("-", maxQuestion)
		if err != nil {
			return err
		}
		question = string(text)
	}
	if strings.TrimSpace(question) == "" {
		return cli.Usagef("the question is empty")
	}
	client, err := a.client(c.clientSettings)
	if err != nil {
		return err
	}
	request := chatRequest{Model: c.Model, Messages: []message{{"user", question}}}
	if c.System != "" {
		request.Messages = append([]message{{"system", c.System}}, request.Messages...)
	}
	if request.Model == "" {
		if request.Model, err = a.pickModel(ctx, client); err != nil {
			return err
		}
	}
	return c.ask(ctx, a, client, request)
}

// client is the way to the router that the settings name, or that runs here.
func (a *app) client(s clientSettings) (*apiClient, error) {
	base := s.Router
	if base == "" {
		h, _, err := a.home.Holder()
		if err != nil {
			return nil, err
		}
		if h.Router == "" && h.Worker != "" {
			return nil, cli.Hintf(fmt.Errorf("%s runs here, which is no router", h.What), "lobstah up runs both; --router URL names another")
		}
		base = cmp.Or(h.Router, defaultRouter)
		if s.APIKey == "" { // our own router asks for what our own settings say
			if s.APIKey, err = a.sources.first("router.api-keys"); err != nil {
				return nil, err
			}
		}
	}
	base = strings.TrimSuffix(strings.TrimRight(base, "/"), "/v1")
	if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
		return nil, cli.Usagef("--router %s: want a URL such as %s", base, defaultRouter)
	}
	return &apiClient{base, s.APIKey}, nil
}

func (a *app) pickModel(ctx context.Context, client *apiClient) (string, error) {
	done := a.Progress("asking the router for its models")
	defer done()
	for again := false; ; again = true {
		models, err := client.models(ctx)
		if err != nil {
			return "", err
		}
		if best, ok := bestModel(models); ok {
			return best.ID, nil
		}
		var peers []peerReport
		if err := client.get(ctx, "/peers", &peers); err != nil {
			return "", err
		}
		trouble := troubles(peers)
		if again || len(trouble) == 0 {
			return "", cli.Hintf(noModel(trouble), "lobstah status shows the peers and what they have, lobstah doctor what fails")
		}
		select { // the router, which was asked, looks whether they are back
		case <-time.After(modelsRetry):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

const modelsRetry = 1500 * time.Millisecond // it asks a peer once a second at most

// troubles tell why peers offer nothing.
func troubles(peers []peerReport) (list []string) {
	for _, p := range peers {
		if p.State.LastError != "" {
			list = append(list, p.Name()+": "+cli.CleanLine(p.State.LastError))
		}
	}
	return list
}

func noModel(trouble []string) error {
	if len(trouble) == 0 {
		return errNoModel
	}
	return fmt.Errorf("%w now: %s", errNoModel, strings.Join(trouble[:min(len(trouble), 3)], "; "))
}

var errNoModel = errors.New("the pool has no model that answers questions")

func (c *askCommand) ask(ctx context.Context, a *app, client *apiClient, request chatRequest) error {
	waiting := a.Progress("waiting for " + request.Model)
	stopWaiting := func() {
		if waiting != nil {
			waiting()
			waiting = nil
		}
	}
	defer stopWaiting()
	last, thinking := byte('\n'), false
	got, err := client.stream(ctx, request, listener{
		Piece: func(piece string) {
			stopWaiting()
			if !c.JSON {
				fmt.Fprint(a.Out, cli.Clean(piece))
				last = piece[len(piece)-1]
			}
		},
		Thinks: func() {
			if waiting != nil && !thinking {
				stopWaiting()
				waiting, thinking = a.Progress(request.Model+" is thinking"), true
			}
		},
	})
	stopWaiting()
	if !c.JSON && last != '\n' {
		a.say("")
	}
	if err != nil {
		return err
	}
	if err := client.findReceipt(ctx, got); err != nil {
		// The answer is here; a router that has stopped meanwhile left its
		// receipt in the ledger, which may be ours.
		a.lookUp(ctx, got)
	}
	if c.JSON {
		return a.json(got.forPrograms())
	}
	a.note("%s", a.Style(a.Err).Dim(a.summary(got)))
	return nil
}

// lookUp finds the answer's receipt in this machine's own ledger, if it is there.
func (a *app) lookUp(ctx context.Context, got *answer) {
	book, err := a.readBook(ctx)
	if err != nil {
		return
	}
	defer book.Close()
	entries, err := book.Recent(ctx, recentEnough)
	if err != nil {
		return
	}
	for _, e := range entries {
		if got.covers(e.Signed) {
			got.Receipt = e.Signed
		}
	}
}

// forPrograms is an answer with what its receipt says.
func (a *answer) forPrograms() any {
	out := struct {
		*answer
		Receipt       string `json:"receipt,omitempty"` // nonce
		SelfServed    bool   `json:"selfServed"`
		Countersigned bool   `json:"countersigned"`
	}{answer: a}
	if s := a.Receipt; s != nil {
		out.Receipt, out.SelfServed, out.Countersigned = s.Nonce, s.SelfServed(), s.Countersigned() == nil
	}
	return out
}

// summary is the line below an answer.
func (a *app) summary(got *answer) string {
	peer := a.names().of(got.Peer)
	if got.Peer == "" {
		peer = "an unknown peer"
	}
	line := fmt.Sprintf("[%s, %s, %s + %s tokens, %s", peer, got.Model,
		cli.Count(got.Input), cli.Count(got.Output), cli.Duration(time.Duration(got.Seconds*float64(time.Second))))
	if got.Finish == "length" {
		line += ", cut off at the most that its engine gives"
	}
	return cli.CleanLine(line+", "+receiptText(got.Receipt)) + "]"
}

func receiptText(s *receipt.Signed) string {
	switch {
	case s == nil:
		return "no receipt seen"
	case s.SelfServed():
		return "receipt " + s.Nonce + ": served to itself, nothing is owed"
	}
	return "receipt " + s.Nonce + ": " + cli.Plural(s.Total(), "token") + " owed"
}
