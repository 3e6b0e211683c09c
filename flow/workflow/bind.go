package workflow

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"lobstah/flow/value"
)

// A paused run is bound to what the person saw: the file, the files that it will run as steps (as far as their names are known by then)
// and the arguments. The document keeps their hashes, and the file's text to show what changed.

// maxBoundSource bounds the text that a document keeps for that.
const maxBoundSource = 256 << 10

// binding is what a resumed run may execute. Nil admits everything.
type binding struct {
	files map[string]string // real path to SHA-256; only files that were known when the run paused
}

// admits refuses a nested file that changed since the run was approved.
func (b *binding) admits(realPath, hash string) error {
	if b == nil || b.files[realPath] == "" || b.files[realPath] == hash {
		return nil
	}
	return &ChangedError{Path: realPath}
}

// bind describes the files that the run stands on.
func (r *runner) bind() (value.Value, error) {
	files := map[string]string{}
	if err := r.collectFiles(r.file, r.dir, r.scope(), files, 0); err != nil {
		return value.Undefined, err
	}
	var b, nested value.Builder
	b.Set("version", value.Int(1))
	b.Set("file", value.String(r.file.Hash))
	b.Set("args", value.String(hashOf(value.Canonical(r.args))))
	if len(r.file.Source) <= maxBoundSource {
		b.Set("source", value.String(r.file.Source))
	}
	for path, hash := range files {
		nested.Set(path, value.String(hash))
	}
	b.Set("files", nested.Value())
	return b.Value(), nil
}

// collectFiles finds the files that the rest of the run may execute. What cannot be known yet, because its name depends on a step, is left
// out, and so is what does not exist.
func (r *runner) collectFiles(f *File, dir string, sc scope, into map[string]string, depth int) error {
	if depth > maxNesting {
		return nil
	}
	for _, s := range f.Steps {
		path := sc.fill(s.Path)
		if s.Kind != Nested || stepRef.MatchString(path) {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil || into[real] != "" {
			continue
		}
		source, err := readText(real)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		into[real] = hashOf(source)
		child, err := Parse(real, source)
		if err != nil {
			continue // it will be refused when its step is reached
		}
		args := resolveArgs(child, job{runner: r, scope: sc}.childArgs(s))
		if err := r.collectFiles(child, filepath.Dir(real), scope{args, &results{}}, into, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// ChangedError says that a paused run's file is no longer the one that was approved.
type ChangedError struct {
	Path string
	Diff string // lines that went and came, "" when the old text was not kept
}

func (e *ChangedError) Error() string {
	msg := fmt.Sprintf("Workflow file %s has changed since the run was paused, so this is not what was approved. Run it again, or restore the file and resume.", e.Path)
	if e.Diff != "" {
		msg += "\n" + e.Diff
	}
	return msg
}

// checkBinding compares a document's binding with the file and arguments at hand. A document without one was written by the original program:
// the second result says so.
func checkBinding(doc value.Value, f *File, args value.Value) (bound *binding, unbound bool, err error) {
	b := doc.Field("binding")
	if b.Kind() != value.KindObject {
		return nil, true, nil
	}
	if hash, _ := b.Field("file").AsString(); hash != f.Hash {
		source, _ := b.Field("source").AsString()
		return nil, false, &ChangedError{f.Path, diff(source, f.Source)}
	}
	if hash, _ := b.Field("args").AsString(); hash != hashOf(value.Canonical(args)) {
		return nil, false, plainError("The arguments of the paused run have changed since it was paused, so this is not what was approved. Run the workflow again.")
	}
	bound = &binding{files: map[string]string{}}
	files, _ := b.Field("files").AsObject()
	for path, hash := range files.All() {
		bound.files[path], _ = hash.AsString()
	}
	return bound, false, nil
}

// diff shows the lines between the common beginning and the common end of two texts.
func diff(before, after string) string {
	if before == "" {
		return ""
	}
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	endA, endB := len(a), len(b)
	for endA > from && endB > from && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
	}
	var out strings.Builder
	fmt.Fprintf(&out, "@@ line %d @@", from+1)
	writeLines(&out, "-", a[from:endA])
	writeLines(&out, "+", b[from:endB])
	return out.String()
}

// maxDiffLines bounds each side of a diff.
const maxDiffLines = 20

func writeLines(out *strings.Builder, sign string, lines []string) {
	for i, l := range lines {
		if i == maxDiffLines {
			fmt.Fprintf(out, "\n%s ... %d more lines", sign, len(lines)-i)
			return
		}
		out.WriteString("\n" + sign + " " + l)
	}
}
