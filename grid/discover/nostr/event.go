package nostr

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"lobstah/internal/canonical"
	"lobstah/internal/nostrkey"
)

// An event is what relays carry (NIP-01). One that was parsed has the id that
// its members give; whether its signature holds, genuine tells.
type event struct {
	id        [32]byte
	author    [32]byte // x-only public key
	created   int64    // Unix seconds
	kind      int64
	tags      [][]string
	content   string
	signature [64]byte
}

// hash is the id: the SHA-256 of [0, author, created, kind, tags, content] as
// JSON without white space.
func (e *event) hash() [32]byte {
	return sha256.Sum256(canonical.Append(nil, []any{
		0.0, hex.EncodeToString(e.author[:]), float64(e.created), float64(e.kind), e.tagTree(), e.content,
	}))
}

func (e *event) tagTree() []any {
	tags := make([]any, len(e.tags))
	for i, tag := range e.tags {
		values := make([]any, len(tag))
		for j, text := range tag {
			values[j] = text
		}
		tags[i] = values
	}
	return tags
}

// sign makes the event secret's.
func (e *event) sign(secret [32]byte) (err error) {
	if e.author, err = nostrkey.Public(secret); err != nil {
		return err
	}
	e.id = e.hash()
	e.signature, err = nostrkey.Sign(secret, e.id)
	return err
}

func (e *event) genuine() bool { return nostrkey.Verify(e.author, e.id, e.signature) }

// tree is the event's JSON; members are in the order of their names.
func (e *event) tree() canonical.Object {
	return canonical.Object{
		{Name: "content", Value: e.content},
		{Name: "created_at", Value: float64(e.created)},
		{Name: "id", Value: hex.EncodeToString(e.id[:])},
		{Name: "kind", Value: float64(e.kind)},
		{Name: "pubkey", Value: hex.EncodeToString(e.author[:])},
		{Name: "sig", Value: hex.EncodeToString(e.signature[:])},
		{Name: "tags", Value: e.tagTree()},
	}
}

var errEvent = errors.New("not an event")

// parseEvent reads an event and checks its id, but not yet its signature.
func parseEvent(tree any) (*event, error) {
	body, ok := tree.(canonical.Object)
	if !ok {
		return nil, errEvent
	}
	e := &event{}
	member := func(name string) any {
		value, _ := body.Get(name)
		return value
	}
	var texts bool
	e.content, texts = member("content").(string)
	e.created, ok = whole(member("created_at"))
	texts = texts && ok
	e.kind, ok = whole(member("kind"))
	texts = texts && ok
	e.tags, ok = parseTags(member("tags"))
	if !texts || !ok || !unhex(e.id[:], member("id")) || !unhex(e.author[:], member("pubkey")) || !unhex(e.signature[:], member("sig")) {
		return nil, errEvent
	}
	if e.hash() != e.id {
		return nil, fmt.Errorf("%w: its id is not its own", errEvent)
	}
	return e, nil
}

func whole(value any) (int64, bool) {
	f, ok := value.(float64)
	return int64(f), ok && f == math.Trunc(f) && f >= 0 && f <= 1<<53
}

func unhex(dst []byte, value any) bool {
	text, _ := value.(string)
	if len(text) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

func parseTags(value any) ([][]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	tags := make([][]string, len(list))
	for i, value := range list {
		items, ok := value.([]any)
		if !ok {
			return nil, false
		}
		for _, item := range items {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			tags[i] = append(tags[i], text)
		}
	}
	return tags, true
}
