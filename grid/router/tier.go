package router

import (
	"net/http"
	"slices"

	"lobstah/grid"
	"lobstah/openai"
)

// preferences lists, for what a request is, the tiers of peers, the best first.
// Machines that are meant for people come last for what nobody waits for.
var preferences = map[grid.Tier][]grid.Tier{
	grid.Interactive: {grid.Interactive, grid.BestEffort, grid.Batch},
	grid.Batch:       {grid.Batch, grid.BestEffort, grid.Interactive},
	grid.BestEffort:  {grid.BestEffort, grid.Batch, grid.Interactive},
}

// byTier keeps the candidates of the best tier that has a free slot; when no
// slot is free, those of the best tier. What nobody waits for takes no free
// slot of an interactive peer while there are others. Whatever chooses among
// the rest (the conversation, the least wait) cannot undo it.
func byTier(list []candidate, wanted grid.Tier) []candidate {
	var best []candidate
	for _, tier := range preferences[wanted] {
		of := within(list, tier)
		switch {
		case len(of) == 0:
			continue
		case best != nil && tier == grid.Interactive:
			return best
		case shortest(of) == 0:
			return of
		case best == nil:
			best = of
		}
	}
	if best == nil { // no preference
		return list
	}
	return best
}

// within returns the part of a list, sorted by tier, that is of this tier.
func within(list []candidate, tier grid.Tier) []candidate {
	from := slices.IndexFunc(list, func(c candidate) bool { return c.tier == tier })
	if from < 0 {
		return nil
	}
	to := from
	for to < len(list) && list[to].tier == tier {
		to++
	}
	return list[from:to]
}

// tierOf is what a request says it is: people wait for answers, unless it says
// otherwise. What keeps no conversation has no preference.
func tierOf(r *http.Request, d openai.Dialect) (grid.Tier, *openai.Error) {
	text := r.Header.Get(grid.TierHeader)
	switch {
	case text != "":
	case d == openai.Embeddings || d == openai.CountTokens:
		return "", nil
	default:
		return grid.Interactive, nil
	}
	tier, err := grid.ParseTier(text)
	if err != nil {
		return "", openai.BadMember(grid.TierHeader, "%v", err)
	}
	return tier, nil
}

// sortByTier brings offers of one tier together, strangers last of each.
func sortByTier(offers []offer) {
	slices.SortStableFunc(offers, func(a, b offer) int { return a.rank() - b.rank() })
}

func (o offer) rank() int {
	rank := 2 * place(o.tier)
	if o.Origin.Stranger() {
		rank++
	}
	return rank
}

func place(t grid.Tier) int { return slices.Index(preferences[grid.Interactive], t) }

// sameRank counts the first offers, sorted by tier, that are of one tier and all
// strangers, or none.
func sameRank(offers []offer) int {
	n, _ := slices.BinarySearchFunc(offers, offers[0].rank()+1, func(o offer, next int) int { return o.rank() - next })
	return n
}

// ownFirst leaves strangers out while a peer that the user knows has a free
// slot: whoever answers reads what it is asked.
func ownFirst(list []candidate) []candidate {
	free := func(c candidate) bool { return !c.Origin.Stranger() && c.load.Queue() == 0 }
	if !slices.ContainsFunc(list, free) {
		return list
	}
	return slices.DeleteFunc(list, func(c candidate) bool { return c.Origin.Stranger() })
}
