package stdlib

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func triageCommand() interp.Command {
	return interp.Command{
		Name:        "email.triage",
		Description: "Sort mails into those that need a reply, an action, or neither",
		Help:        "gog.gmail.search | email.triage\ngog.gmail.search | email.triage --llm --emit drafts | approve | gog.gmail.send\n\nWithout --llm simple rules decide.",
		Params: []interp.Param{
			withDefault(numberParam("limit", "How many mails at most"), value.Int(20)), boolParam("llm", "Let a model decide and draft replies"),
			stringParam("model", "Model to ask"), stringParam("url", "Address of the model"), stringParam("token", "Bearer token for the model"),
			numberParam("temperature", "Temperature of the model"), numberParam("max-output-tokens", "Most tokens of the answer"),
			withDefault(stringParam("emit", "report or drafts"), value.String("report")), stringParam("state-key", "Where to keep the answer"), positional(),
		},
		Required: []string{},
		Run:      triage,
	}
}

// mail is a normalised item.
type mail struct {
	id, thread, from, subject, date, snippet string
	labels                                   []string
}

func triage(ctx context.Context, call *interp.Call) (interp.Output, error) {
	mails, err := takeMails(call)
	if err != nil {
		return interp.Output{}, err
	}
	drafts := strings.ToLower(value.Trim(value.Text(orText(call.Args.Get("emit"), "report")))) == "drafts"
	if call.Args.Truthy("llm") && hasProvider(call.Env) {
		return triageByModel(ctx, call, mails, drafts)
	}
	if drafts {
		return interp.Emit(), nil
	}
	var b buckets
	for _, m := range mails {
		b.add(m.id, m.category())
	}
	return interp.Emit(b.report(mails, value.F("mode", value.String("deterministic")))), nil
}

func orText(v value.Value, other string) value.Value {
	if v.IsUndefined() {
		return value.String(other)
	}
	return v
}

func takeMails(call *interp.Call) ([]mail, error) {
	limit := 20.0
	if v := call.Args.Get("limit"); !v.IsUndefined() {
		if limit = value.ToNumber(v); math.IsNaN(limit) {
			limit = math.Inf(1)
		}
	}
	var mails []mail
	for item, err := range call.Input {
		if err != nil {
			return nil, err
		}
		mails = append(mails, readMail(item))
		if float64(len(mails)) >= limit {
			break
		}
	}
	return mails, nil
}

func readMail(item value.Value) mail {
	text := func(names ...string) string {
		for _, n := range names {
			if v := item.Property(n); !v.IsNullish() {
				return trimmedText(v)
			}
		}
		return ""
	}
	m := mail{
		id: text("id", "messageId"), thread: text("threadId", "thread_id", "id", "messageId"), from: text("from", "sender"), subject: text("subject"),
		date: text("date", "internalDate", "timestamp"), snippet: text("snippet", "bodyPreview"),
	}
	labels, _ := item.Property("labels").AsList()
	for _, l := range labels {
		m.labels = append(m.labels, value.Text(l))
	}
	return m
}

func (m mail) value() value.Value {
	return value.Record(value.F("id", value.String(m.id)), value.F("threadId", value.String(m.thread)), value.F("from", value.String(m.from)),
		value.F("subject", value.String(m.subject)), value.F("date", value.String(m.date)), value.F("snippet", value.String(m.snippet)),
		value.F("labels", value.Strings(m.labels)))
}

func (m mail) automatic() bool {
	from := strings.ToLower(m.from)
	return slices.ContainsFunc([]string{"no-reply", "noreply", "do-not-reply", "donotreply"}, func(s string) bool { return strings.Contains(from, s) })
}

func (m mail) unread() bool {
	return slices.ContainsFunc(m.labels, func(l string) bool { return strings.ToUpper(l) == "UNREAD" })
}

const (
	needsReply  = "needs_reply"
	needsAction = "needs_action"
)

// category sorts a mail by rule.
func (m mail) category() string {
	subject := strings.ToLower(m.subject)
	switch {
	case strings.Contains(subject, "action required") || strings.Contains(subject, "urgent"):
		return needsAction
	case m.unread() && !m.automatic():
		return needsReply
	}
	return "fyi"
}

// buckets are ids by category.
type buckets struct{ reply, action, fyi []string }

func (b *buckets) add(id, category string) {
	switch category {
	case needsReply:
		b.reply = append(b.reply, id)
	case needsAction:
		b.action = append(b.action, id)
	default:
		b.fyi = append(b.fyi, id)
	}
}

func (b *buckets) report(mails []mail, more ...value.Field) value.Value {
	emails := make([]value.Value, len(mails))
	for i, m := range mails {
		emails[i] = m.value()
	}
	fields := []value.Field{
		value.F("summary", value.String(fmt.Sprintf("%d need replies, %d need action, %d FYI", len(b.reply), len(b.action), len(b.fyi)))),
		value.F("buckets", value.Record(value.F("needsReply", value.Strings(b.reply)), value.F("needsAction", value.Strings(b.action)), value.F("fyi", value.Strings(b.fyi)))),
		value.F("emails", value.List(emails...)),
	}
	return value.Record(append(fields, more...)...)
}
