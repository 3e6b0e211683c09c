package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Limits of what passes between two neighbours.
const (
	MaxMessageBytes = 64 << 10
	maxHints        = 2 * MaxMembers
)

// A message is one kind byte and its body. The lists are as long as the message:
//
//	summary     'S'  hash [32]
//	digest      'D'  count, members; count, held; revocation hints [8]...
//	want        'W'  hints [8]...
//	records     'R'  (length, record)...
//	revocations 'V'  (length, revocation)...
//
// A member is its hint [8], epoch and version. The held are records of nodes that
// the sender cannot reach: known, not recommended. Counts, lengths, epochs and
// versions are unsigned varints.
const (
	kindSummary     = 'S'
	kindDigest      = 'D'
	kindWant        = 'W'
	kindRecords     = 'R'
	kindRevocations = 'V'
)

type stamp struct{ epoch, version uint64 }

func (s stamp) newer(r *Record) bool {
	return s.epoch > r.Epoch || s.epoch == r.Epoch && s.version > r.Version
}

// message is what decode found; only the fields of its kind are set.
type message struct {
	kind        byte
	summary     [32]byte
	stamps      map[Hint]stamp // members
	held        map[Hint]stamp // members and held
	revocations map[Hint]bool
	hints       []Hint
	sealed      [][]byte // records or revocations, aliasing the input
}

var errCut = errors.New("the message ends early")

func decode(data []byte) (m message, err error) {
	if len(data) == 0 || len(data) > MaxMessageBytes {
		return m, fmt.Errorf("a message of %d bytes, want 1 to %d", len(data), MaxMessageBytes)
	}
	m.kind = data[0]
	body := data[1:]
	switch m.kind {
	case kindSummary:
		if len(body) != len(m.summary) {
			return m, errCut
		}
		m.summary = [32]byte(body)
	case kindDigest:
		err = m.readDigest(body)
	case kindWant:
		m.hints, err = readHints(body)
	case kindRecords, kindRevocations:
		m.sealed, err = readSealed(body)
	default:
		err = fmt.Errorf("unknown kind %q", m.kind)
	}
	return m, err
}

func (m *message) readDigest(body []byte) (err error) {
	if m.stamps, body, err = readStamps(body); err != nil {
		return err
	}
	if m.held, body, err = readStamps(body); err != nil {
		return err
	}
	maps.Copy(m.held, m.stamps)
	hints, err := readHints(body)
	if err != nil {
		return err
	}
	m.revocations = make(map[Hint]bool, len(hints))
	for _, h := range hints {
		m.revocations[h] = true
	}
	return nil
}

func readStamps(body []byte) (map[Hint]stamp, []byte, error) {
	count, body, err := uvarint(body)
	if err != nil {
		return nil, nil, err
	}
	if count > MaxMembers {
		return nil, nil, fmt.Errorf("a digest of %d members, at most %d are allowed", count, MaxMembers)
	}
	stamps := make(map[Hint]stamp, min(count, uint64(len(body)/10)))
	for range count {
		if len(body) < 8 {
			return nil, nil, errCut
		}
		hint := Hint(body[:8])
		var s stamp
		if s.epoch, body, err = uvarint(body[8:]); err != nil {
			return nil, nil, err
		}
		if s.version, body, err = uvarint(body); err != nil {
			return nil, nil, err
		}
		stamps[hint] = s
	}
	return stamps, body, nil
}

func readHints(body []byte) ([]Hint, error) {
	if len(body)%8 != 0 || len(body)/8 > maxHints {
		return nil, errCut
	}
	hints := make([]Hint, 0, len(body)/8)
	for ; len(body) > 0; body = body[8:] {
		hints = append(hints, Hint(body[:8]))
	}
	return hints, nil
}

func readSealed(body []byte) (list [][]byte, err error) {
	for len(body) > 0 {
		var size uint64
		if size, body, err = uvarint(body); err != nil {
			return nil, err
		}
		if size < sealBytes || size > sealBytes+MaxRecordBytes || size > uint64(len(body)) {
			return nil, errCut
		}
		list = append(list, body[:size])
		body = body[size:]
	}
	return list, nil
}

func uvarint(body []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(body)
	if n <= 0 {
		return 0, nil, errCut
	}
	return v, body[n:], nil
}

func appendSealed(message, sealed []byte) []byte {
	return append(binary.AppendUvarint(message, uint64(len(sealed))), sealed...)
}

func appendStamps(message []byte, records []*Record) []byte {
	slices.SortFunc(records, func(a, b *Record) int { return compareKeys(a.Key, b.Key) })
	message = binary.AppendUvarint(message, uint64(len(records)))
	for _, r := range records {
		message = append(message, r.Key[:8]...)
		message = binary.AppendUvarint(binary.AppendUvarint(message, r.Epoch), r.Version)
	}
	return message
}
