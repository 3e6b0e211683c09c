package worker

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	maxIdempotencyKey = 255
	repeatMemory      = 15 * time.Minute
	repeatRoom        = 32 << 20 // bytes of all answers
	repeatEach        = 1 << 20  // of one
)

// repeats remembers answers, so that who did not get one pays once. It is in
// memory alone: a worker that ends forgets them. The oldest go first. The zero
// value is ready.
type repeats struct {
	mu      sync.Mutex
	order   list.List                  // guarded by mu; of repeat, oldest first
	entries map[[32]byte]*list.Element // guarded by mu
	bytes   int                        // guarded by mu
}

// A repeat is an answer that was given. It is not changed.
type repeat struct {
	name        [32]byte
	at          time.Time
	status      int
	contentType string
	body        []byte
	receipt     *receipt.Signed // nil where none are made
}

// nameRepeat sets what the job's answer is known again by: who asks, what, and
// the key that it gave. Only those whom the owner let in have room here.
func (j *job) nameRepeat(header http.Header) {
	key := header.Get(grid.IdempotencyHeader)
	proved := j.claim.how == bySignature || j.claim.how == byConnection
	if key == "" || len(key) > maxIdempotencyKey || j.streams || j.dialect == openai.CountTokens || !proved ||
		j.from.class != allowed && j.from.class != self {
		return
	}
	j.repeat = sha256.Sum256(fmt.Appendf(nil, "lobstah-repeat-v1\n%s\n%s\n%x\n%s", j.from.id, j.path, j.bodyHash, key))
}

// repeated gives an answer again that was given before, if it was.
func (j *job) repeated() bool {
	before, ok := j.w.repeats.find(j.repeat, j.w.config.Now())
	if !ok {
		return false
	}
	j.reply.w.Header().Set(grid.RepeatedHeader, "true")
	j.outcome = "repeated"
	if j.reply.answer(before.status, before.contentType, before.body, before.receipt) != nil {
		j.outcome = "client_left"
	}
	return true
}

func (r *repeats) find(name [32]byte, now time.Time) (repeat, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now, repeatRoom)
	at := r.entries[name]
	if at == nil {
		return repeat{}, false
	}
	return at.Value.(repeat), true
}

// keep remembers an answer under its name, unless it has none.
func (r *repeats) keep(x repeat) {
	if x.name == [32]byte{} || len(x.body) > repeatEach {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(x.at, repeatRoom-len(x.body))
	if r.entries == nil {
		r.entries = map[[32]byte]*list.Element{}
	}
	if r.entries[x.name] != nil {
		return // two ran at once, and the first one counts
	}
	r.entries[x.name] = r.order.PushBack(x)
	r.bytes += len(x.body) + receipt.MaxBytes
}

// forget drops what is old, and more until no more than room is taken. The
// caller holds mu.
func (r *repeats) forget(now time.Time, room int) {
	for at := r.order.Front(); at != nil; at = r.order.Front() {
		x := at.Value.(repeat)
		if r.bytes <= room && now.Sub(x.at) < repeatMemory {
			return
		}
		r.order.Remove(at)
		delete(r.entries, x.name)
		r.bytes -= len(x.body) + receipt.MaxBytes
	}
}
