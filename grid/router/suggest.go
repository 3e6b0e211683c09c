package router

import (
	"cmp"
	"slices"
	"strings"

	"lobstah/internal/spelling"
)

// nearest returns up to three names of models that the given one may mean. It
// looks at some thousands at most, since peers may name as many as they like.
func nearest(model string, offers map[string][]offer) []string {
	const most, longest, looks = 3, 64, 5000
	type guess struct {
		name     string
		distance int
	}
	given := strings.ToLower(model[:min(len(model), longest)])
	var list []guess
	looked := 0
	for name := range offers {
		if looked++; looked > looks {
			break
		}
		other := strings.ToLower(name[:min(len(name), longest)])
		d := spelling.Distance(given, other)
		if strings.HasPrefix(other, given) || strings.HasPrefix(given, other) {
			d = min(d, 1)
		}
		if d <= max(2, len(given)/2) {
			list = append(list, guess{name, d})
		}
	}
	slices.SortFunc(list, func(a, b guess) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, g := range list[:min(len(list), most)] {
		names = append(names, g.name)
	}
	return names
}
