package workflow

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"lobstah/flow/value"
)

// A paused run is bound to what the person saw: the file, the files that it will run as steps and the scripts that they call (as far as their
// names are known by then) and the arguments. The document keeps their hashes, and the file's text to show what changed. Files count by the
// names that the run will call them by, not by what a symbolic link stood for when it paused.

// maxBoundSource bounds the text that a document keeps for that.
const maxBoundSource = 256 << 10

// binding is what a resumed run may execute. Nil admits everything.
type binding struct {
	files map[string]string // absolute path to SHA-256; only files that were known when the run paused
}

// admits refuses a nested file that changed since the run was approved.
func (b *binding) admits(path, hash string) error {
	if b == nil || b.files[path] == "" || b.files[path] == hash {
		return nil
	}
	return &ChangedError{Path: path}
}

// bind describes the files that the rest of the run stands on, from the step at next.
func (r *runner) bind(next int) (value.Value, error) {
	found := boundFiles{next: next, nested: map[string]string{}, scripts: map[string]string{}}
	if err := r.collectFiles(r.file, r.dir, r.scope(), found, 0); err != nil {
		return value.Undefined, err
	}
	var b value.Builder
	b.Set("version", value.Int(1))
	b.Set("workdir", value.String(r.opts.Env.Workdir()))
	b.Set("file", value.String(r.file.Hash))
	b.Set("args", value.String(hashOf(value.Canonical(r.args))))
	if len(r.file.Source) <= maxBoundSource {
		b.Set("source", value.String(r.file.Source))
	}
	b.Set("files", hashes(found.nested))
	b.Set("scripts", hashes(found.scripts))
	return b.Value(), nil
}

// maxBoundFiles bounds the nested files of a run, which links could make endless.
const maxBoundFiles = 1000

// boundFiles are hashes by absolute path.
type boundFiles struct {
	next            int // the first step that is still to run
	nested, scripts map[string]string
}

func hashes(files map[string]string) value.Value {
	var b value.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		b.Set(path, value.String(files[path]))
	}
	return b.Value()
}

// collectFiles finds the files that the rest of the run may execute. What cannot be known yet, because its name depends on a step, is left
// out, and so is what does not exist.
func (r *runner) collectFiles(f *File, dir string, sc scope, into boundFiles, depth int) error {
	if depth > maxNesting {
		return nil
	}
	for i, s := range f.Steps {
		if depth == 0 && i < into.next {
			continue // it has run
		}
		for part := range s.parts() {
			where := stepEnv(stepEnv(r.fileEnv(sc), sc, s.Env, s.Cwd), sc, part.Env, part.Cwd).Dir
			if err := r.collectScripts(part, where, sc, into.scripts); err != nil {
				return err
			}
		}
		if err := r.collectNested(s, dir, sc, into, depth); err != nil {
			return err
		}
	}
	return nil
}

// parts are a step and those within it.
func (s *Step) parts() iter.Seq[*Step] {
	return func(yield func(*Step) bool) {
		all := []*Step{s}
		if s.Branches != nil {
			all = append(all, s.Branches.List...)
		}
		if s.Loop != nil {
			all = append(all, s.Loop.Steps...)
		}
		for _, part := range all {
			if !yield(part) {
				return
			}
		}
	}
}

// collectNested notes the workflow file that a step runs, and what that runs.
func (r *runner) collectNested(s *Step, dir string, sc scope, into boundFiles, depth int) error {
	path := sc.fill(s.Path)
	if s.Kind != Nested || stepRef.MatchString(path) {
		return nil
	}
	if path = within(dir, path); into.nested[path] != "" {
		return nil
	}
	source, err := readText(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(into.nested) >= maxBoundFiles {
		return plainError(fmt.Sprintf("Workflow step %s: the rest of the run stands on more than %d workflow files", s.ID, maxBoundFiles))
	}
	into.nested[path] = hashOf(source)
	child, err := Parse(path, source)
	if err != nil {
		return nil // it will be refused when its step is reached
	}
	args := resolveArgs(child, job{runner: r, scope: sc}.childArgs(s))
	return r.collectFiles(child, filepath.Dir(path), scope{args, &results{}}, into, depth+1)
}

// within is a path in its shortest form, from dir unless it is absolute.
func within(dir, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return filepath.Clean(path)
}

// ChangedError says that a paused run's file is no longer the one that was approved.
type ChangedError struct {
	Path   string
	Diff   string // lines that went and came, "" when the old text was not kept
	Script bool   // it is a script that a step runs, not a workflow file
}

func (e *ChangedError) Error() string {
	what := "Workflow file"
	if e.Script {
		what = "Script"
	}
	msg := what + fmt.Sprintf(" %s has changed since the run was paused, so this is not what was approved. Run it again, or restore the file and resume.", e.Path)
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
		return nil, false, &ChangedError{Path: f.Path, Diff: diff(source, f.Source)}
	}
	if hash, _ := b.Field("args").AsString(); hash != hashOf(value.Canonical(args)) {
		return nil, false, plainError("The arguments of the paused run have changed since it was paused, so this is not what was approved. Run the workflow again.")
	}
	if err := checkScripts(b.Field("scripts")); err != nil {
		return nil, false, err
	}
	bound = &binding{files: map[string]string{}}
	files, _ := b.Field("files").AsObject()
	for path, hash := range files.All() {
		bound.files[path], _ = hash.AsString()
		source, err := readText(path)
		if err != nil {
			return nil, false, &ChangedError{Path: path}
		}
		if err := bound.admits(path, hashOf(source)); err != nil {
			return nil, false, err
		}
	}
	return bound, false, nil
}

// checkScripts refuses scripts that are no longer what they were.
func checkScripts(bound value.Value) error {
	scripts, _ := bound.AsObject()
	for path, want := range scripts.All() {
		hash, err := scriptHash(path)
		if err != nil {
			return err
		}
		if was, _ := want.AsString(); was != hash {
			return &ChangedError{Path: path, Script: true}
		}
	}
	return nil
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
