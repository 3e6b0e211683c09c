package member

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lobstah/key"
)

// Limits of a record. What exceeds them is refused, by its maker and by every
// receiver, before a byte of it is parsed.
const (
	MaxRecordBytes = 24 << 10 // of JSON: holds the largest offer and all links
	MaxOfferBytes  = 10 << 10 // of JSON
	MaxName        = 64
	MaxAgents      = 64
	MaxModels      = 256
	MaxTools       = 128
	MaxTags        = 64
	MaxLinks       = 512
	maxWord        = 128
	maxText        = 512
	maxCounter     = 1 << 53
)

// The domain lines begin whatever a node signs, so that no statement passes for
// another kind of statement.
const (
	recordDomain     = "clawmatrix-record-v1\n"
	revocationDomain = "clawmatrix-revocation-v1\n"
)

// An Agent is one agent that a node offers.
type Agent struct {
	ID          string   `json:"id"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
}

// A Model is one model that a node offers.
type Model struct {
	ID          string `json:"id"`
	Provider    string `json:"provider,omitempty"`
	Description string `json:"description,omitempty"`
}

// An Offer is what a node can do for the others. It is a claim of that node and
// nothing more.
type Offer struct {
	Agents []Agent  `json:"agents,omitempty"`
	Models []Model  `json:"models,omitempty"`
	Tools  []string `json:"tools,omitempty"`
	Tags   []string `json:"tags,omitempty"`
}

// A Hint is the first 8 bytes of a key: enough to tell the members of one mesh
// apart, not enough to trust. It keeps the lists of links short.
type Hint [8]byte

// HintOf shortens a key.
func HintOf(id key.ID) Hint { return Hint(id[:8]) }

// MarshalText gives 16 hex digits.
func (h Hint) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads 16 hex digits.
func (h *Hint) UnmarshalText(text []byte) error {
	if len(text) != 16 {
		return fmt.Errorf("%.40q is not the hint of a key: want 16 hex digits", text)
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// A Record is what a node says of itself. Epoch is larger for every process that
// runs with the same key; Version grows with every change within an epoch. Links
// maps the node's direct neighbours to round-trip times in milliseconds.
type Record struct {
	Key     key.ID `json:"-"` // signs the record; travels beside it
	Name    string `json:"node"`
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
	Gone    bool   `json:"gone,omitempty"` // said goodbye
	Offer
	Links map[Hint]uint32 `json:"links,omitempty"`
}

// Newer reports whether r replaces an older statement of the same key.
func (r *Record) Newer(epoch, version uint64) bool {
	return r.Epoch > epoch || r.Epoch == epoch && r.Version > version
}

// Seal signs the record and returns its wire form: key (32 bytes), signature
// (64), body. The signature covers the domain line "clawmatrix-record-v1" and
// the body, which is JSON. Receivers keep and pass on these very bytes, so
// members that an older program does not know survive it.
func (r *Record) Seal(pair key.Pair) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return seal(pair, recordDomain, r)
}

// OpenRecord checks the size, the signature and the limits of a wire form, in
// this order, and reads it.
func OpenRecord(wire []byte) (*Record, error) {
	r := new(Record)
	id, err := open(wire, recordDomain, r)
	if err != nil {
		return nil, fmt.Errorf("read a node record: %w", err)
	}
	r.Key = id
	return r, r.check()
}

func seal(pair key.Pair, domain string, statement any) ([]byte, error) {
	body, err := json.Marshal(statement)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxRecordBytes {
		return nil, fmt.Errorf("the record has %d bytes, at most %d are allowed: offer or link less", len(body), MaxRecordBytes)
	}
	id := pair.ID()
	wire := append(slices.Clip(id[:]), pair.Sign(append([]byte(domain), body...))...)
	return append(wire, body...), nil
}

const sealBytes = 32 + 64

func open(wire []byte, domain string, statement any) (key.ID, error) {
	if len(wire) < sealBytes || len(wire) > sealBytes+MaxRecordBytes {
		return key.ID{}, fmt.Errorf("%d bytes, want %d to %d", len(wire), sealBytes, sealBytes+MaxRecordBytes)
	}
	id, body := key.ID(wire[:32]), wire[sealBytes:]
	if !id.Verify(append([]byte(domain), body...), wire[32:sealBytes]) {
		return key.ID{}, fmt.Errorf("the signature of %s does not fit", id.Short())
	}
	return id, json.Unmarshal(body, statement)
}

func (r *Record) check() error {
	if r.Epoch == 0 || r.Epoch > maxCounter || r.Version == 0 || r.Version > maxCounter {
		return fmt.Errorf("epoch %d or version %d is out of range", r.Epoch, r.Version)
	}
	if len(r.Links) > MaxLinks {
		return fmt.Errorf("%d links, at most %d are allowed", len(r.Links), MaxLinks)
	}
	if err := words(MaxName, r.Name); err != nil {
		return fmt.Errorf("node name: %w", err)
	}
	return r.Offer.Check()
}

// Check says whether the offer is within the limits.
func (o *Offer) Check() error {
	if len(o.Agents) > MaxAgents || len(o.Models) > MaxModels || len(o.Tools) > MaxTools {
		return fmt.Errorf("%d agents, %d models, %d tools: at most %d, %d and %d are allowed",
			len(o.Agents), len(o.Models), len(o.Tools), MaxAgents, MaxModels, MaxTools)
	}
	err := errors.Join(tags(o.Tags), words(maxWord, o.Tools...))
	for _, a := range o.Agents {
		err = errors.Join(err, words(maxWord, a.ID), text(a.Description), tags(a.Tags))
	}
	for _, m := range o.Models {
		err = errors.Join(err, words(maxWord, m.ID), text(m.Provider), text(m.Description))
	}
	return err
}

// fit says whether an offer leaves room for the links. Receivers do not ask:
// newer programs may say more of themselves.
func (o *Offer) fit() error {
	if err := o.Check(); err != nil {
		return err
	}
	data, err := json.Marshal(o)
	if err == nil && len(data) > MaxOfferBytes {
		err = fmt.Errorf("%d bytes as JSON, at most %d are allowed: shorten the descriptions", len(data), MaxOfferBytes)
	}
	return err
}

func (o *Offer) equal(p *Offer) bool {
	return slices.Equal(o.Tags, p.Tags) && slices.Equal(o.Tools, p.Tools) && slices.Equal(o.Models, p.Models) &&
		slices.EqualFunc(o.Agents, p.Agents, func(a, b Agent) bool {
			return a.ID == b.ID && a.Description == b.Description && slices.Equal(a.Tags, b.Tags)
		})
}

func tags(list []string) error {
	if len(list) > MaxTags {
		return fmt.Errorf("%d tags, at most %d are allowed", len(list), MaxTags)
	}
	return words(maxWord, list...)
}

// ValidName reports whether a node may bear a name.
func ValidName(name string) bool { return words(MaxName, name) == nil }

// words refuses names that are empty, long, or could deceive a terminal.
func words(limit int, list ...string) error {
	for _, w := range list {
		if w == "" || len(w) > limit || !utf8.ValidString(w) || strings.ContainsFunc(w, unprintable) {
			return fmt.Errorf("%.80q is no name: want 1 to %d bytes without spaces", w, limit)
		}
	}
	return nil
}

func unprintable(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }

func text(s string) error {
	if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, control) {
		return fmt.Errorf("a text of %d bytes: want at most %d of UTF-8 without control characters", len(s), maxText)
	}
	return nil
}

func control(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// A Revocation says that By no longer takes Key for a member.
type Revocation struct {
	By     key.ID `json:"-"`
	Key    key.ID `json:"key"`
	AtMS   int64  `json:"at_ms"` // Unix milliseconds by By's clock
	Reason string `json:"reason,omitempty"`
}

// Seal signs the revocation, as [Record.Seal] does with a record.
func (r *Revocation) Seal(pair key.Pair) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return seal(pair, revocationDomain, r)
}

// OpenRevocation checks and reads the wire form of a revocation.
func OpenRevocation(wire []byte) (*Revocation, error) {
	r := new(Revocation)
	id, err := open(wire, revocationDomain, r)
	if err != nil {
		return nil, fmt.Errorf("read a revocation: %w", err)
	}
	r.By = id
	return r, r.check()
}

func (r *Revocation) check() error {
	if r.Key.IsZero() || r.AtMS <= 0 || r.AtMS > maxCounter {
		return errors.New("a revocation needs a key and a time")
	}
	return text(r.Reason)
}

func (r *Revocation) at() time.Time { return time.UnixMilli(r.AtMS) }

// linkList quantises round-trip times to whole milliseconds, rounded up.
func linkList(links map[key.ID]*neighbour) map[Hint]uint32 {
	list := make(map[Hint]uint32, min(len(links), MaxLinks))
	for _, id := range slices.SortedFunc(maps.Keys(links), compareKeys) {
		if len(list) == MaxLinks {
			break
		}
		list[HintOf(id)] = milliseconds(links[id].rtt)
	}
	return list
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d+time.Millisecond-1, 0)/time.Millisecond, 1<<20))
}

func compareKeys(a, b key.ID) int { return bytes.Compare(a[:], b[:]) }
