package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// The rules by which a run and its recording are made comparable.
var (
	uuidText       = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	uuidPattern    = regexp.MustCompile(uuidText)
	stateKey       = regexp.MustCompile(`^(pipeline_resume|workflow_resume)_` + uuidText + `$`)
	isoTime        = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	shortID        = regexp.MustCompile(`^[0-9a-f]{8}$`)
	claimID        = regexp.MustCompile(`^[0-9a-f]{32}$`)
	approvalInText = regexp.MustCompile(`Approval ID (\\?)"[0-9a-f]{8}(\\?)"`)
	approvalFile   = regexp.MustCompile(`^approval_[0-9a-f]{8}\.json$`)
	tokenInText    = regexp.MustCompile(`"resumeToken": ?"([A-Za-z0-9_-]+)"`)
	idInText       = regexp.MustCompile(`"approvalId": ?"[0-9a-f]{8}"`)
	timeInText     = regexp.MustCompile(`"(createdAt|storedAt|consumedAt)": ?"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	claimInText    = regexp.MustCompile(`"claimId": ?"[0-9a-f]{32}"`)
)

// normaliseText replaces what differs from run to run in a text.
func normaliseText(text string) string {
	text = tokenInText.ReplaceAllStringFunc(text, func(m string) string {
		return `"resumeToken": "` + normaliseToken(tokenInText.FindStringSubmatch(m)[1]) + `"`
	})
	text = idInText.ReplaceAllString(text, `"approvalId": "@@APPROVAL_ID@@"`)
	text = timeInText.ReplaceAllString(text, `"$1": "@@TIME@@"`)
	text = claimInText.ReplaceAllString(text, `"claimId": "@@CLAIM@@"`)
	return scrub(text)
}

func scrub(text string) string {
	return uuidPattern.ReplaceAllString(approvalInText.ReplaceAllString(text, `Approval ID $1"@@APPROVAL_ID@@$2"`), "@@UUID@@")
}

func normaliseToken(token string) string {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "@@TOKEN:opaque@@"
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "@@TOKEN:opaque@@"
	}
	key, _ := doc["stateKey"].(string)
	if doc["protocolVersion"] != 1.0 || doc["v"] != 1.0 || len(doc) != 4 || !stateKey.MatchString(key) {
		return "@@TOKEN:nonstandard@@"
	}
	return fmt.Sprintf("@@TOKEN:%v@@", doc["kind"])
}

// normaliseJSON does the same to a document; key is the field that v stands in.
func normaliseJSON(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, f := range v {
			out[k] = normaliseJSON(f, k)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, f := range v {
			out[i] = normaliseJSON(f, "")
		}
		return out
	case string:
		return normaliseField(v, key)
	}
	return v
}

func normaliseField(text, key string) string {
	switch {
	case key == "resumeToken":
		return normaliseToken(text)
	case key == "approvalId" && shortID.MatchString(text):
		return "@@APPROVAL_ID@@"
	case (key == "createdAt" || key == "storedAt" || key == "consumedAt") && isoTime.MatchString(text):
		return "@@TIME@@"
	case key == "claimId" && claimID.MatchString(text):
		return "@@CLAIM@@"
	}
	return scrub(text)
}

func normaliseName(name string) string {
	return approvalFile.ReplaceAllString(uuidPattern.ReplaceAllString(name, "@@UUID@@"), "approval_@@APPROVAL_ID@@.json")
}

// matchJSON returns the first difference between a recorded document, which may hold matchers, and an actual one; "" if they are equal.
func matchJSON(want, got any, path string) string {
	at := path
	if at == "" {
		at = "/"
	}
	if rule, arg, ok := matcher(want); ok {
		return matchRule(rule, arg, got, at)
	}
	switch want := want.(type) {
	case map[string]any:
		return matchObject(want, got, path)
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s: got %s, want %d items", at, brief(got), len(want))
		}
		for i := range want {
			if d := matchJSON(want[i], list[i], fmt.Sprintf("%s/%d", path, i)); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s: got %s, want %s", at, brief(got), brief(want))
	}
	return ""
}

func matcher(want any) (rule string, arg any, ok bool) {
	o, _ := want.(map[string]any)
	if len(o) != 1 {
		return "", nil, false
	}
	for rule, arg := range o {
		switch rule {
		case "$any", "$prefix", "$contains", "$regex":
			return rule, arg, true
		}
	}
	return "", nil, false
}

func matchRule(rule string, arg, got any, at string) string {
	text, isText := got.(string)
	pattern, _ := arg.(string)
	ok := isText
	switch rule {
	case "$any":
		return ""
	case "$prefix":
		ok = ok && strings.HasPrefix(text, pattern)
	case "$contains":
		ok = ok && strings.Contains(text, pattern)
	case "$regex":
		ok = ok && matchesPattern(pattern, text)
	}
	if !ok {
		return fmt.Sprintf("%s: got %s, want %s %q", at, brief(got), rule, pattern)
	}
	return ""
}

func matchesPattern(pattern, text string) bool {
	re, err := regexp.Compile("(?s)" + pattern)
	return err == nil && re.MatchString(text)
}

func matchObject(want map[string]any, got any, path string) string {
	o, ok := got.(map[string]any)
	if !ok {
		return fmt.Sprintf("%s: got %s, want an object", path, brief(got))
	}
	for k := range o {
		if _, expected := want[k]; !expected {
			return fmt.Sprintf("%s: got unexpected key %q", path, k)
		}
	}
	for k, f := range want {
		v, there := o[k]
		if !there {
			return fmt.Sprintf("%s: misses key %q", path, k)
		}
		if d := matchJSON(f, v, path+"/"+k); d != "" {
			return d
		}
	}
	return ""
}

func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(b) > 300 {
		return string(b[:300]) + "..."
	}
	return string(b)
}
