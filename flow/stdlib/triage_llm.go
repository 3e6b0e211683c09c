package stdlib

import (
	"context"
	"regexp"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

const triageSchema = `{"type":"object","properties":{"decisions":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},` +
	`"category":{"type":"string","enum":["needs_reply","needs_action","fyi"]},"rationale":{"type":"string"},"reply":{"type":"object",` +
	`"properties":{"subject":{"type":"string"},"body":{"type":"string"}},"required":["body"],"additionalProperties":false}},` +
	`"required":["id","category"],"additionalProperties":false}}},"required":["decisions"],"additionalProperties":false}`

// triageByModel asks a model for a category and a reply for each mail.
func triageByModel(ctx context.Context, call *interp.Call, mails []mail, drafts bool) (interp.Output, error) {
	decisions, err := decide(ctx, call, mails)
	if err != nil {
		return interp.Output{}, err
	}
	replies := draftReplies(mails, decisions)
	if drafts {
		out := make([]value.Value, len(replies))
		for i, r := range replies {
			out[i] = pickFields(r, []string{"to", "subject", "body", "emailId"})
		}
		return interp.Emit(out...), nil
	}
	var b buckets
	for _, d := range decisions {
		b.add(value.Text(d.Field("id")), value.Text(d.Field("category")))
	}
	return interp.Emit(b.report(mails, value.F("decisions", value.List(decisions...)), value.F("drafts", value.List(replies...)),
		value.F("mode", value.String("llm")))), nil
}

func decide(ctx context.Context, call *interp.Call, mails []mail) ([]value.Value, error) {
	artifacts := make([]value.Value, len(mails))
	for i, m := range mails {
		artifacts[i] = m.value()
	}
	flags := []value.Field{
		value.F("prompt", value.String(triagePrompt(mails))), value.F("output-schema", value.String(triageSchema)),
		value.F("schema-version", value.String("email_triage.v1")),
	}
	for _, name := range []string{"model", "temperature", "max-output-tokens", "token", "state-key"} {
		if v := call.Args.Get(name); !v.IsUndefined() {
			flags = append(flags, value.F(name, v))
		}
	}
	inner := &interp.Call{Env: call.Env, Go: call.Go, Args: syntax.NewArgs(nil, flags...), Input: interp.Items(artifacts...), Name: "llm.invoke"}
	out, err := runLLM(ctx, inner)
	if err != nil {
		return nil, err
	}
	answers, err := interp.Collect(out.Output)
	if err != nil || len(answers) == 0 {
		return nil, err
	}
	all, _ := answers[0].Field("output").Field("data").Field("decisions").AsList()
	var decisions []value.Value
	for _, d := range all {
		if id := trimmedText(d.Field("id")); id != "" {
			decisions = append(decisions, decision(id, d))
		}
	}
	return decisions, nil
}

// decision is a model's decision without what was not asked for.
func decision(id string, d value.Value) value.Value {
	category, rationale, reply := d.Field("category"), value.Undefined, value.Undefined
	if category.IsNullish() {
		category = value.String("fyi")
	}
	if r := d.Field("rationale"); r.Truthy() {
		rationale = value.String(value.Text(r))
	}
	if r := d.Field("reply"); r.Kind() >= value.KindList {
		body := r.Field("body")
		if body.IsNullish() {
			body = value.String("")
		}
		reply = value.Record(value.F("subject", r.Field("subject")), value.F("body", value.String(value.Text(body))))
	}
	return value.Record(value.F("id", value.String(id)), value.F("category", value.String(value.Text(category))), value.F("rationale", rationale), value.F("reply", reply))
}

func triagePrompt(mails []mail) string {
	var b strings.Builder
	b.WriteString("Sort each of the mails below into needs_reply, needs_action or fyi. For those that need a reply, draft a short and polite one. ")
	b.WriteString("Answer with JSON that fits the schema, one decision for each mail, by its id.\n")
	for _, m := range mails {
		b.WriteString("\n" + m.value().JSON())
	}
	return b.String()
}

var (
	bracketed = regexp.MustCompile(`<([^>]+)>`)
	address   = regexp.MustCompile(`(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}`)
)

// draftReplies returns the drafts for decisions that ask for one, where the mail is known and has a person behind its address.
func draftReplies(mails []mail, decisions []value.Value) []value.Value {
	byID := map[string]mail{}
	for _, m := range mails {
		byID[m.id] = m
	}
	var out []value.Value
	for _, d := range decisions {
		m, known := byID[value.Text(d.Field("id"))]
		body, _ := d.Field("reply").Field("body").AsString()
		to := sender(m.from)
		if value.Text(d.Field("category")) != needsReply || !known || body == "" || to == "" || m.automatic() {
			continue
		}
		subject := replySubject(m.subject)
		if s := d.Field("reply").Field("subject"); s.Truthy() {
			subject = value.Text(s)
		}
		out = append(out, value.Record(value.F("emailId", value.String(m.id)), value.F("to", value.String(to)),
			value.F("subject", value.String(subject)), value.F("body", value.String(body))))
	}
	return out
}

func sender(from string) string {
	if m := bracketed.FindStringSubmatch(from); m != nil {
		return value.Trim(m[1])
	}
	return address.FindString(from)
}

func replySubject(subject string) string {
	switch {
	case subject == "":
		return "Re:"
	case strings.HasPrefix(strings.ToLower(subject), "re:"):
		return subject
	}
	return "Re: " + subject
}
