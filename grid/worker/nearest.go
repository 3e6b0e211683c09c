package worker

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lobstah/grid"
	"lobstah/openai"
)

// notFound says that no model is what text asks for, and which ones are near.
func notFound(models []grid.Model, text string) *openai.Error {
	e := &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("this worker does not serve the model %q", text),
	}
	name, digest := grid.SplitModel(text)
	i := slices.IndexFunc(models, func(m grid.Model) bool { return m.ID == name })
	switch {
	case digest != "" && i >= 0 && models[i].Digest == "":
		e.Message += fmt.Sprintf("; its engine tells no digest of %s, so none can be asked for", name)
	case digest != "" && i >= 0:
		e.Message += "; it has " + name + "@" + models[i].Digest
	case len(models) == 0:
		e.Message += "; its engine has no model yet"
	default:
		e.Message += "; the nearest names are " + strings.Join(nearest(models, name, 3), ", ")
	}
	return e
}

// nearest returns the n names that take the fewest edits from name.
func nearest(models []grid.Model, name string, n int) []string {
	type candidate struct {
		id    string
		edits int
	}
	var list []candidate
	for _, m := range models {
		list = append(list, candidate{m.ID, edits(strings.ToLower(name), strings.ToLower(m.ID))})
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.edits, b.edits) })
	var names []string
	for _, c := range list[:min(n, len(list))] {
		names = append(names, c.id)
	}
	return names
}

// edits is the Levenshtein distance, with insertions at half price: people
// leave tags away. It looks at 64 bytes of each.
func edits(from, to string) int {
	from, to = from[:min(len(from), 64)], to[:min(len(to), 64)]
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] += 2
		for j := range len(to) {
			change := diagonal
			if from[i] != to[j] {
				change += 2
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+2)
		}
	}
	return row[len(to)]
}
