package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// The control stream, the first of every link, carries frames: kind [1], length
// [4], body. A ping's body is 8 bytes, and its pong's are the same.
const (
	framePinging = 'p'
	framePonging = 'q'
	frameMessage = 'm'
)

func appendFrame(b []byte, kind byte, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(body)))
	return append(b, body...)
}

// readFrame reads one frame into buf, which is returned longer if need be.
func readFrame(r io.Reader, buf []byte) (kind byte, body, bigger []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, buf, err
	}
	size := binary.BigEndian.Uint32(header[1:])
	if size > MaxMessage {
		return 0, nil, buf, fmt.Errorf("a control frame of %d bytes, at most %d are allowed", size, MaxMessage)
	}
	if int(size) > len(buf) {
		buf = make([]byte, size)
	}
	_, err = io.ReadFull(r, buf[:size])
	return header[0], buf[:size], buf, err
}

func (l *Link) readControl(receive func([]byte) error) error {
	r := bufio.NewReaderSize(l.control, 512) // for many idle links
	var buf []byte
	for {
		kind, body, bigger, err := readFrame(r, buf)
		if err != nil {
			return l.lost(err)
		}
		buf = bigger
		if err := l.takeFrame(kind, body, receive); err != nil {
			return &ClosedError{Code: CodeProtocol, Err: err}
		}
	}
}

func (l *Link) takeFrame(kind byte, body []byte, receive func([]byte) error) error {
	switch kind {
	case frameMessage:
		return receive(body)
	case framePinging, framePonging:
		if len(body) != 8 {
			return fmt.Errorf("a heartbeat of %d bytes, want 8", len(body))
		}
	default:
		return fmt.Errorf("control frame of unknown kind %q", kind)
	}
	if kind == framePonging {
		select {
		case l.pongs <- binary.BigEndian.Uint64(body):
		default: // one is enough to know that the other side lives
		}
		return nil
	}
	select {
	case l.beats <- appendFrame(nil, framePonging, body):
	default: // pings come faster than the link carries the answers: its sender will see
	}
	return nil
}

// writeControl is the only writer of the control stream. Heartbeats go first.
func (l *Link) writeControl() error {
	for {
		var frame []byte
		select {
		case frame = <-l.beats:
		default:
			select {
			case frame = <-l.beats:
			case frame = <-l.out:
			case <-l.ended:
				return l.reason
			}
		}
		if _, err := l.control.Write(frame); err != nil {
			return l.lost(err)
		}
	}
}

// beat pings and counts the pings that were not answered. It never waits for the
// link, so a link that takes no more bytes is noticed too.
func (l *Link) beat() error {
	timer := time.NewTimer(0) // the first ping measures the round-trip time
	defer timer.Stop()
	begin, missed := time.Now(), 0
	for {
		select {
		case <-l.ended:
			return l.reason
		case stamp := <-l.pongs:
			missed = 0
			l.measure(time.Since(begin) - time.Duration(stamp))
		case <-timer.C:
			if missed == MissedPings {
				return &ClosedError{Code: CodeHeartbeat}
			}
			missed++
			timer.Reset(l.every*9/10 + rand.N(l.every/5))
			select {
			case l.beats <- appendFrame(nil, framePinging, binary.BigEndian.AppendUint64(nil, uint64(time.Since(begin)))):
			default: // those before are still waiting: this one counts as missed
			}
		}
	}
}

// measure smooths round-trip times as RFC 6298 does: the old one weighs 7/8.
func (l *Link) measure(rtt time.Duration) {
	if rtt <= 0 || rtt > time.Minute { // a pong that was invented
		return
	}
	if old := l.RTT(); old > 0 {
		rtt = (7*old + rtt) / 8
	}
	l.rtt.Store(int64(rtt))
}
