package worker

import (
	"hash/maphash"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

// maxNonces bounds a memory of proofs; full, it takes 11 MB. At 512Ki
// proofs within their 300 seconds, 1,700 a second, new ones are refused:
// forgetting one would let it be replayed.
const maxNonces = 1 << 19

// What [nonces.add] says.
type nonceVerdict uint8

const (
	nonceNew nonceVerdict = iota
	nonceSeen
	nonceFull
)

// nonces remembers proofs until they are stale anyway. They lie in buckets by
// the minute in which they were signed, so that forgetting costs nothing. A
// proof is kept as a hash under a secret seed: nobody can make two collide, and
// chance does so once in 10^13.
type nonces struct {
	mu      sync.Mutex
	seed    maphash.Seed
	buckets map[int64]map[uint64]struct{} // by minute of signing
	count   int
	limit   int
}

func newNonces() *nonces {
	return &nonces{seed: maphash.MakeSeed(), buckets: map[int64]map[uint64]struct{}{}, limit: maxNonces}
}

// add remembers a fresh proof of id's.
func (n *nonces) add(id key.ID, p receipt.Proof, now time.Time) nonceVerdict {
	hash := n.hash(id, p.Nonce)
	minute := p.Time.Unix() / 60
	n.mu.Lock()
	defer n.mu.Unlock()
	bucket := n.buckets[minute]
	if _, seen := bucket[hash]; seen {
		return nonceSeen
	}
	if bucket == nil || n.count >= n.limit {
		n.forget(now)
	}
	if n.count >= n.limit {
		return nonceFull
	}
	if bucket == nil {
		bucket = map[uint64]struct{}{}
		n.buckets[minute] = bucket
	}
	bucket[hash] = struct{}{}
	n.count++
	return nonceNew
}

// forget drops the minutes that are stale as a whole.
func (n *nonces) forget(now time.Time) {
	oldest := now.Add(-receipt.Window).Unix() / 60
	for minute, bucket := range n.buckets {
		if minute < oldest {
			n.count -= len(bucket)
			delete(n.buckets, minute)
		}
	}
}

func (n *nonces) hash(id key.ID, nonce string) uint64 {
	var h maphash.Hash
	h.SetSeed(n.seed)
	h.Write(id[:])
	h.WriteString(nonce)
	return h.Sum64()
}
