package router

import (
	"container/list"
	"hash/maphash"
	"sync"

	"lobstah/key"
	"lobstah/openai"
)

const (
	affinityShards = 16
	affinitySize   = 1024 // prefixes in one shard
	maxPrefixes    = 512  // looked at in one request
	promptBlock    = 1024 // bytes of a prompt that is one text
	firstKept      = 2    // prefixes of a request that are remembered: its beginning,
	lastKept       = 6    // which many conversations share, and its end
)

// affinity remembers which peer served which beginning of a conversation, for
// its engine keeps the work done on it. It is bounded; the least recently used
// go first. Shards keep its locks apart.
type affinity struct {
	seed   maphash.Seed
	shards [affinityShards]shard
}

type shard struct {
	mu      sync.Mutex
	order   list.List                // guarded by mu; of entry, newest first
	entries map[uint64]*list.Element // guarded by mu
}

type entry struct {
	prefix uint64
	peer   key.ID
}

func newAffinity() *affinity {
	a := &affinity{seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].entries = map[uint64]*list.Element{}
	}
	return a
}

// prefixes hashes a request's beginnings, shortest first: what goes before all
// messages, then each message added to those before it, as the bytes that came.
func (a *affinity) prefixes(r *openai.Request, d openai.Dialect) []uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	for _, name := range []string{"model", "tools", "system", "instructions"} {
		h.Write(r.Value(name))
		h.WriteByte(0)
	}
	turns := r.Value(turnsOf(d))
	if len(turns) == 0 {
		return nil
	}
	var sums []uint64
	if turns[0] == '"' {
		for len(turns) >= promptBlock && len(sums) < maxPrefixes {
			h.Write(turns[:promptBlock])
			turns = turns[promptBlock:]
			sums = append(sums, h.Sum64())
		}
		return sums
	}
	for turn := range openai.Elements(turns) {
		h.Write(turn)
		h.WriteByte(0)
		if sums = append(sums, h.Sum64()); len(sums) == maxPrefixes {
			break
		}
	}
	return sums
}

// turnsOf names the member that holds the conversation.
func turnsOf(d openai.Dialect) string {
	switch d {
	case openai.Completions:
		return "prompt"
	case openai.Responses:
		return "input"
	case openai.Chat, openai.Messages:
		return "messages"
	}
	return "" // embeddings and counts keep nothing
}

// find returns the peer that served the longest of the prefixes.
func (a *affinity) find(prefixes []uint64) (id key.ID, found bool) {
	for i := len(prefixes) - 1; i >= 0; i-- {
		if id, found = a.shard(prefixes[i]).get(prefixes[i]); found {
			return id, true
		}
	}
	return id, false
}

// learn notes that id has served a request with these prefixes.
func (a *affinity) learn(prefixes []uint64, id key.ID) {
	for i, prefix := range prefixes {
		if i < firstKept || i >= len(prefixes)-lastKept {
			a.shard(prefix).put(prefix, id)
		}
	}
}

func (a *affinity) shard(prefix uint64) *shard { return &a.shards[prefix%affinityShards] }

func (s *shard) get(prefix uint64) (key.ID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[prefix]
	if e == nil {
		return key.ID{}, false
	}
	s.order.MoveToFront(e)
	return e.Value.(entry).peer, true
}

func (s *shard) put(prefix uint64, id key.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[prefix]; e != nil {
		e.Value = entry{prefix, id}
		s.order.MoveToFront(e)
		return
	}
	if s.order.Len() >= affinitySize {
		oldest := s.order.Back()
		delete(s.entries, oldest.Value.(entry).prefix)
		s.order.Remove(oldest)
	}
	s.entries[prefix] = s.order.PushFront(entry{prefix, id})
}
