package stdlib

import (
	"context"
	"fmt"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// prFields are asked of gh; prCompared are those whose change is told, in this order.
const prFields = "number,title,url,state,isDraft,mergeable,reviewDecision,author,baseRefName,headRefName,updatedAt"

var prCompared = []string{"number", "title", "url", "state", "isDraft", "mergeable", "reviewDecision", "updatedAt", "baseRefName", "headRefName"}

// prLook is one look at a pull request, compared with the last.
type prLook struct {
	repo, pr, key value.Value
	changed       bool
	fields        []string    // compared fields that changed
	changes       value.Value // field to {from, to}
	now           value.Value
}

func lookAtPR(ctx context.Context, env *interp.Env, args value.Value) (prLook, error) {
	l := prLook{repo: args.Property("repo"), pr: args.Property("pr"), key: args.Property("key")}
	if !l.repo.Truthy() || !l.pr.Truthy() {
		return l, fault("github.pr.monitor requires args.repo and args.pr")
	}
	if l.key.IsNullish() {
		l.key = value.String(fmt.Sprintf("github.pr:%s#%s", value.Text(l.repo), value.Text(l.pr)))
	}
	var err error
	if l.now, err = viewPR(ctx, env, value.Text(l.repo), value.Text(l.pr)); err != nil {
		return l, err
	}
	before, err := swap(ctx, env, value.Text(l.key), l.now)
	if err != nil {
		return l, err
	}
	l.compare(before)
	return l, nil
}

func viewPR(ctx context.Context, env *interp.Env, repo, pr string) (value.Value, error) {
	r, err := program(ctx, env, &interp.Process{Argv: []string{"gh", "pr", "view", pr, "--repo", repo, "--json", prFields}}, programLimit)
	switch {
	case err != nil && interp.IsNotFound(err):
		return value.Undefined, fault("gh not found on PATH (install GitHub CLI)")
	case err != nil:
		return value.Undefined, err
	case !r.exit.OK():
		return value.Undefined, fmt.Errorf("gh failed (%s): %s", r.exit, first(value.Trim(r.stderr), value.Trim(r.stdout)))
	}
	v, err := value.Parse(value.Trim(r.stdout))
	if err != nil {
		return v, fault("gh returned non-JSON output")
	}
	return v, nil
}

func (l *prLook) compare(before value.Value) {
	l.changed = value.Canonical(before) != value.Canonical(l.now)
	var b value.Builder
	for _, f := range prCompared {
		from, to := before.Property(f), l.now.Property(f)
		if l.now.Kind() < value.KindList || value.Canonical(orNull(from)) == value.Canonical(orNull(to)) && !before.IsNull() {
			continue
		}
		if before.IsNull() {
			from = value.Null
		}
		l.fields = append(l.fields, f)
		b.Set(f, value.Record(value.F("from", from), value.F("to", to)))
	}
	l.changes = b.Value()
}

func orNull(v value.Value) value.Value {
	if v.IsUndefined() {
		return value.Null
	}
	return v
}

func (l *prLook) summary() value.Value {
	return value.Record(value.F("changedFields", value.Strings(l.fields)), value.F("changes", l.changes))
}

func (l *prLook) brief() value.Value {
	var b value.Builder
	for _, f := range []string{"number", "title", "url", "state", "updatedAt"} {
		b.Set(f, l.now.Property(f))
	}
	return b.Value()
}

func (l *prLook) number() value.Value { return value.Number(value.ToNumber(l.pr)) }

func monitorPR(ctx context.Context, env *interp.Env, args value.Value) (value.Value, error) {
	l, err := lookAtPR(ctx, env, args)
	if err != nil {
		return value.Undefined, err
	}
	head := []value.Field{
		value.F("kind", value.String("github.pr.monitor")), value.F("repo", l.repo), value.F("prNumber", l.number()),
		value.F("key", l.key), value.F("changed", value.Bool(l.changed)),
	}
	if args.Property("changesOnly").Truthy() && !l.changed {
		return value.Record(append(head, value.F("suppressed", value.True))...), nil
	}
	head = append(head, value.F("summary", l.summary()))
	if args.Property("summaryOnly").Truthy() {
		return value.Record(append(head, value.F("pr", l.brief()))...), nil
	}
	return value.Record(append(head, value.F("prSnapshot", l.now))...), nil
}

func notifyPR(ctx context.Context, env *interp.Env, args value.Value) (value.Value, error) {
	l, err := lookAtPR(ctx, env, args)
	if err != nil {
		return value.Undefined, err
	}
	kind := value.F("kind", value.String("github.pr.monitor.notify"))
	if !l.changed {
		return value.Record(kind, value.F("suppressed", value.True)), nil
	}
	return value.Record(kind, value.F("changed", value.True), value.F("repo", l.repo), value.F("prNumber", l.number()),
		value.F("message", value.String(l.message())), value.F("pr", l.brief()), value.F("summary", l.summary())), nil
}

func (l *prLook) message() string {
	var b strings.Builder
	fmt.Fprintf(&b, "PR updated: %s#%s", value.Text(l.repo), value.Text(l.number()))
	if title := trimmedText(l.now.Property("title")); title != "" {
		b.WriteString(": " + title)
	}
	if len(l.fields) > 0 {
		b.WriteString(" (" + strings.Join(l.fields, ", ") + ")")
	}
	b.WriteString(".")
	if url := trimmedText(l.now.Property("url")); url != "" {
		b.WriteString(" " + url)
	}
	return strings.Join(strings.FieldsFunc(b.String(), value.IsSpace), " ")
}
