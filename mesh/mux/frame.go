package mux

import (
	"encoding/binary"
	"fmt"
)

// A frame is a header, and the bytes of data if it has some:
//
//	version [1] zero, kind [1], flags [2], stream [4], length [4]
//
// The length of a window update is no length but what more may be sent.
const headerBytes = 12

type kind byte

const (
	kindData kind = iota
	kindWindow
	kindPing
	kindGoAway
)

type flags uint16

const (
	flagSYN flags = 1 << iota // opens a stream
	flagACK                   // accepts it
	flagFIN                   // nothing more will come
	flagRST                   // the stream is given up
)

type frame struct {
	kind   kind
	flags  flags
	stream uint32
	length uint32
}

// ProtocolError is something that an honest other side does not send.
type ProtocolError struct{ problem string }

func (e *ProtocolError) Error() string { return e.problem }

func (f frame) appendTo(b []byte) []byte {
	b = append(b, 0, byte(f.kind))
	b = binary.BigEndian.AppendUint16(b, uint16(f.flags))
	b = binary.BigEndian.AppendUint32(b, f.stream)
	return binary.BigEndian.AppendUint32(b, f.length)
}

// parseFrame reads a header and checks all that can be known without the streams.
func parseFrame(b *[headerBytes]byte) (frame, error) {
	f := frame{
		kind: kind(b[1]), flags: flags(binary.BigEndian.Uint16(b[2:])),
		stream: binary.BigEndian.Uint32(b[4:]), length: binary.BigEndian.Uint32(b[8:]),
	}
	switch {
	case b[0] != 0:
		return f, &ProtocolError{fmt.Sprintf("version %d of the multiplexer, want 0", b[0])}
	case f.kind == kindPing: // links have a heartbeat of their own
		return f, &ProtocolError{"a ping of the multiplexer, which this protocol does not use"}
	case f.kind == kindGoAway:
		return f, &ProtocolError{fmt.Sprintf("the other side ended the streams with code %d", f.length)}
	case f.kind > kindGoAway:
		return f, &ProtocolError{fmt.Sprintf("frame of unknown kind %d", f.kind)}
	case f.kind == kindData && f.length > Window:
		return f, &ProtocolError{fmt.Sprintf("a frame of %d bytes, at most %d are allowed", f.length, Window)}
	}
	return f, nil
}
