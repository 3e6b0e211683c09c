// Package canonical gives JSON one canonical text, the bytes that signatures
// cover: RFC 8785, with two deliberate choices. Lone surrogates, which the RFC
// refuses, are accepted and written as lower-case \udxxx escapes, because the
// original programs sign such texts. Duplicate member names are refused, since
// two readers may disagree on which one counts.
//
// Call [Transform] for text to text; [Parse] and [Append] where the tree is
// needed between; [Read] where it is not and time counts. Any package may import
// it; it imports only the standard library, keeps no state and is safe for
// concurrent use.
//
// Every input is hostile: size ([MaxBytes]) and depth ([MaxDepth]) are capped
// before anything is allocated for the content.
package canonical

import (
	"errors"
	"fmt"
)

// Limits on what is parsed. Signed statements are a few hundred bytes; these
// leave room for members that newer programs add.
const (
	MaxBytes = 64 << 10
	MaxDepth = 32
)

// Sentinels that callers tell apart.
var (
	ErrTooLarge  = fmt.Errorf("JSON is larger than %d bytes", MaxBytes)
	ErrTooDeep   = fmt.Errorf("JSON is nested deeper than %d levels", MaxDepth)
	ErrDuplicate = errors.New("an object has the same member twice")
)

// A Member is one name and value of an [Object].
type Member struct {
	Name  string
	Value any
}

// An Object holds its members sorted by the UTF-16 code units of their names.
type Object []Member

// Get returns the value of the member called name and whether there is one.
func (o Object) Get(name string) (any, bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Transform returns the canonical text of the one JSON value in src.
func Transform(src []byte) ([]byte, error) {
	v, err := Parse(src)
	if err != nil {
		return nil, err
	}
	return Append(make([]byte, 0, len(src)), v), nil
}
