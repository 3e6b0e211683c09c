package interp

import (
	"fmt"

	"lobstah/flow/value"
)

// MaxCollected caps how many items a stage may gather; what streams has no cap.
const MaxCollected = 50_000_000

// maxCollectedBytes caps how much memory they may take, unless LOBSTER_MAX_COLLECT_BYTES says otherwise.
const maxCollectedBytes = 2 << 30

// Collect pulls the sequence to its end, within the limits of this run.
func (e *Env) Collect(seq Seq) ([]value.Value, error) {
	limit, err := e.LimitVar("LOBSTER_MAX_COLLECT_BYTES", maxCollectedBytes)
	if err != nil {
		return nil, err
	}
	return collect(seq, limit)
}

// Collect pulls the sequence to its end, within the default limits.
func Collect(seq Seq) ([]value.Value, error) { return collect(seq, maxCollectedBytes) }

func collect(seq Seq, limit int64) ([]value.Value, error) {
	var items []value.Value
	var held int64
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		if len(items) >= MaxCollected {
			return nil, fmt.Errorf("a stage that needs all items at once got more than %d; narrow them down before it", MaxCollected)
		}
		if held += v.Size(); held > limit {
			return nil, fmt.Errorf("a stage that needs all items at once got more than %d bytes of them (%d items); narrow them down before it, or raise LOBSTER_MAX_COLLECT_BYTES", limit, len(items))
		}
		items = append(items, v)
	}
	return items, nil
}
