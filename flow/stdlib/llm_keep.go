package stdlib

import (
	"context"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// recall returns the kept items for this query: from the run state, else from the cache; nil if there are none.
func (q *query) recall(ctx context.Context) ([]value.Value, error) {
	if q.refresh {
		return nil, nil
	}
	if q.stateKey != "" && q.call.Store != nil {
		doc, _, err := q.call.Store.Get(ctx, q.stateKey)
		if err != nil {
			return nil, err
		}
		record, _ := value.Parse(string(doc)) // what cannot be read is a miss
		if value.Text(record.Field("type")) == q.call.Name && value.Text(record.Field("cacheKey")) == q.key {
			if items := q.replay(record, "run_state"); items != nil {
				return items, nil
			}
		}
	}
	if q.uncached || q.call.Cache == nil {
		return nil, nil
	}
	doc, _ := q.call.Cache.Get(q.call.Name, q.key)
	record, _ := value.Parse(string(doc)) // what cannot be read is a miss
	return q.replay(record, "cache"), nil
}

// replay marks the items of a record as kept ones.
func (q *query) replay(record value.Value, source string) []value.Value {
	items, _ := record.Field("items").AsList()
	if len(items) == 0 {
		return nil
	}
	out := make([]value.Value, len(items))
	for i, item := range items {
		o, ok := item.AsObject()
		if !ok {
			return nil
		}
		out[i] = value.FromObject(o.With("source", value.String(source)).With("cached", value.True).With("replayed", value.True))
		if q.call.OnAnswer != nil {
			q.call.OnAnswer(interp.Answer{Item: out[i], Key: q.key, Replayed: true})
		}
	}
	return out
}

// keep stores an answer in the cache and the run state, or in neither.
func (q *query) keep(_ context.Context, item value.Value) error {
	var docs []interp.Document
	now := value.F("storedAt", value.String(stamp(q.call.Env)))
	items := value.F("items", value.List(item))
	key := value.F("cacheKey", value.String(q.key))
	if !q.uncached && q.call.Cache != nil {
		path, err := q.call.Cache.File(q.call.Name, q.key)
		if err != nil {
			return err
		}
		docs = append(docs, interp.Document{Path: path, Doc: document(value.Record(items, key, now))})
	}
	if q.stateKey != "" && q.call.Store != nil {
		path, err := q.call.Store.FilePath(q.stateKey)
		if err != nil {
			return err
		}
		record := value.Record(value.F("type", value.String(q.call.Name)), value.F("version", value.Int(1)), key, items, now)
		docs = append(docs, interp.Document{Path: path, Doc: document(record)})
	}
	if len(docs) == 0 || q.call.SaveAll == nil {
		return nil
	}
	return q.call.SaveAll(docs...)
}
