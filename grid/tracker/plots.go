package tracker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"lobstah/key"
)

// The plots of the last day are no statements of anybody and so in no store:
// [Tracker.WritePlots] and [Tracker.ReadPlots] keep them over a restart, as
// text: a line {"lobstahPlots":1}, one for all peers, and one for each model
// and key.

const (
	plotsVersion = 1
	maxPlotLine  = 8 << 10
)

type plotsHead struct {
	Version int `json:"lobstahPlots"`
}

// plotLine is one plot: of the key, or the model, or, with neither, of all.
type plotLine struct {
	ID     *key.ID  `json:"pubkey,omitempty"`
	Model  string   `json:"model,omitempty"`
	Last   int64    `json:"last"`             // its newest slot
	Counts []uint32 `json:"counts,omitempty"` // oldest first
	Loads  []byte   `json:"loads,omitempty"`  // of a key
}

// WritePlots writes the plots of the last day.
func (t *Tracker) WritePlots(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(plotsHead{plotsVersion}); err != nil {
		return err
	}
	for first, last := 0, false; !last; first += stride {
		var some []plotLine
		some, last = t.index.plots(first)
		for _, line := range some {
			if err := lines.Encode(line); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// plots returns a stride of plots; the first one begins with those of all.
func (ix *index) plots(first int) (list []plotLine, last bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	slot := slotOf(ix.now())
	if first == 0 {
		list = append(list, plotLine{Last: slot, Counts: ix.all.day.read(slot, uint32(ix.all.live))})
	}
	for _, p := range strideOf(ix.models, first) {
		list = append(list, plotLine{Model: p.name, Last: slot, Counts: p.day.read(slot, uint32(p.live))})
	}
	for _, e := range strideOf(ix.all.list, first) {
		if e.view != nil {
			list = append(list, plotLine{ID: new(e.view.id), Last: slot, Loads: e.day.read(slot, 0)})
		}
	}
	return list, first+stride >= max(len(ix.models), len(ix.all.list))
}

// strideOf is a stride of a list.
func strideOf[T any](list []T, first int) []T {
	return list[min(first, len(list)):min(first+stride, len(list))]
}

// ReadPlots takes up what WritePlots wrote. Call it before [Tracker.Run]. The
// plots of keys are used when these are listed again.
func (t *Tracker) ReadPlots(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPlotLine)
	ix := t.index
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for n := 1; lines.Scan(); n++ {
		if err := ix.readPlot(n, lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// readPlot reads one line; mu is held.
func (ix *index) readPlot(n int, text []byte) error {
	if n > 1 {
		var line plotLine
		if err := json.Unmarshal(text, &line); err != nil {
			return err
		}
		return ix.takePlot(line)
	}
	var head plotsHead
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	if head.Version != plotsVersion {
		return fmt.Errorf("version %d is unknown to this program, which reads %d", head.Version, plotsVersion)
	}
	return nil
}

// takePlot takes up one plot; mu is held.
func (ix *index) takePlot(line plotLine) error {
	slot := slotOf(ix.now())
	switch {
	case line.Last < 0 || line.Last > slot:
		return errors.New("it is of a time to come")
	case line.ID != nil && len(line.Loads) != slots, line.ID == nil && len(line.Counts) != slots:
		return fmt.Errorf("want %d numbers", slots)
	case line.ID != nil:
		if len(ix.loads) < ix.limits.peers {
			ix.loads[*line.ID] = dayOf(line.Last, line.Loads)
		}
	case len(line.Model) > math.MaxUint8:
		return errors.New("the model's name is too long")
	case line.Model != "":
		if len(ix.models) < maxIdleModels {
			ix.posting(line.Model).day = dayOf(line.Last, line.Counts)
		}
	default:
		ix.all.day = dayOf(line.Last, line.Counts)
	}
	return nil
}

// dayOf makes a ring of its slots, oldest first.
func dayOf[N uint8 | uint32](last int64, list []N) day[N] {
	d := day[N]{last: last}
	for i, n := range list {
		d.values[(last+1+int64(i))%slots] = n
	}
	return d
}
