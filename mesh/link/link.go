// Package link is one link between two nodes of the mesh: a WebSocket, in it TLS
// 1.3 that shows both node keys, in it a mutual proof of the cluster secret, in
// it many streams. A proxy that ends the outer TLS sees nothing but noise.
//
// A [Dialer] makes links with Dial; an [Acceptor] is the [http.Handler] of
// /mesh on port 19000. Both give a [Link]; call [Link.Run], which keeps up the
// heartbeat and returns when the link has ended, and use [Link.Open] and
// [Link.Accept] for streams and [Link.Send] for short messages. [Backoff] says
// when to dial again.
//
// mesh composes links; the configuration and the commands read its addresses,
// judge its secrets and go a way step by step ([Dialer.Trace]). What strangers send is
// hostile and limited in bytes, messages, time and attempts before they proved
// the secret; what members send is limited by the windows of the streams. Links
// are safe for concurrent use. Every goroutine ends before Run returns.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"lobstah/key"
	"lobstah/mesh/mux"
)

// Heartbeat numbers: a ping every 15 s, give or take 10 %; the link ends when a
// fourth would be due and the last three were not answered.
const (
	Heartbeat   = 15 * time.Second
	MissedPings = 3
)

// Bounds of a link.
const (
	MaxMessage = 64 << 10
	sendQueue  = 64 // messages
	closeTime  = time.Second
)

// A Code says why a link ended; it is the WebSocket's close code.
type Code int

// The codes.
const (
	CodeLeaving    Code = 1001 // the node stops
	CodeProtocol   Code = 1002
	CodeHeartbeat  Code = 4002
	CodeReplaced   Code = 4003 // a newer link of the same node took its place
	CodeRevoked    Code = 4004
	CodeSuperseded Code = 4005 // a newer process with the same key is in the mesh
)

func (c Code) String() string {
	switch c {
	case CodeLeaving:
		return "the node leaves"
	case CodeProtocol:
		return "the protocol was broken"
	case CodeHeartbeat:
		return "heartbeat timeout"
	case CodeReplaced:
		return "replaced by a newer link"
	case CodeRevoked:
		return "the key was revoked"
	case CodeSuperseded:
		return "a newer process uses this key"
	}
	return fmt.Sprintf("code %d", int(c))
}

// ClosedError is why a link ended, by either side's will.
type ClosedError struct {
	Code   Code
	Remote bool // the other side ended it
	Err    error
}

func (e *ClosedError) Error() string {
	who := "this side"
	if e.Remote {
		who = "the other side"
	}
	text := fmt.Sprintf("link ended by %s: %s (%d)", who, e.Code, int(e.Code))
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *ClosedError) Unwrap() error { return e.Err }

// Link is one link. Peer, PeerEpoch, Dialled and Guest do not change.
type Link struct {
	Peer      key.ID
	PeerEpoch uint64
	Dialled   bool   // by this side
	Guest     bool   // the dialler is no member
	Remote    string // address, for people

	socket  *socket
	session *mux.Session
	every   time.Duration // heartbeat
	below   *inner
	control net.Conn      // made by Run
	ready   chan struct{} // closed when control is
	out     chan []byte   // messages
	beats   chan []byte   // pings and pongs to send
	pongs   chan uint64   // that came in
	rtt     atomic.Int64

	ending sync.Once
	reason error         // set before ended is closed
	ended  chan struct{} // closed when the link is to end
}

func newLink(e established, s *socket, dialled bool, heartbeat time.Duration) *Link {
	s.prove()
	l := &Link{
		Peer: e.peer, PeerEpoch: e.epoch, Dialled: dialled, Guest: e.guest, Remote: s.remote.String(), socket: s,
		every: heartbeat, out: make(chan []byte, sendQueue), beats: make(chan []byte, 4), pongs: make(chan uint64, 1),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	l.below = &inner{Conn: e.conn, below: s}
	l.session = mux.New(l.below, dialled, heartbeat)
	return l
}

// RTT is the smoothed round-trip time, zero until the first ping was answered.
func (l *Link) RTT() time.Duration { return time.Duration(l.rtt.Load()) }

// Ended is closed when the link has begun to end.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Close ends the link; the other side is told the code. Run returns soon after.
func (l *Link) Close(code Code) { l.end(&ClosedError{Code: code}) }

// Refuse is Close with a reason, which Run returns and the other side is not told.
func (l *Link) Refuse(code Code, why error) { l.end(&ClosedError{Code: code, Err: why}) }

func (l *Link) end(reason error) {
	l.ending.Do(func() {
		l.reason = reason
		close(l.ended)
	})
}

// Open opens a stream to the other node. It works only while Run does.
func (l *Link) Open(ctx context.Context) (net.Conn, error) {
	select {
	case <-l.ready: // the control stream comes first
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.ended:
		return nil, l.reason
	}
	s, err := l.session.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream to %s: %w", l.Peer.Short(), err)
	}
	return s, nil
}

// Accept waits for a stream that the other node opens. While [mux.MaxStreams]
// of them are open, further ones wait. It works only while Run does.
func (l *Link) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.ended:
		return nil, l.reason
	}
	s, err := l.session.Accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept a stream of %s: %w", l.Peer.Short(), err)
	}
	return s, nil
}

// Send queues a short message of at most MaxMessage bytes. When the queue is full
// the message is dropped and Send reports false: what travels this way is
// repeated by its sender.
func (l *Link) Send(message []byte) bool {
	if len(message) > MaxMessage {
		return false
	}
	select {
	case l.out <- appendFrame(nil, frameMessage, message):
		return true
	default:
		return false
	}
}

// Run keeps the link up and hands every message to receive, in order, in one
// goroutine. It returns why the link ended, always an error, when everything of
// the link is closed. An error of receive ends the link.
func (l *Link) Run(ctx context.Context, receive func([]byte) error) error {
	stop := context.AfterFunc(ctx, func() { l.Close(CodeLeaving) })
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	// hangUp comes first of the deferred, and ends what the others wait for.
	defer l.hangUp()
	carried := make(chan struct{})
	running.Go(func() {
		defer close(carried)
		l.session.Run()
	})
	running.Go(func() { l.watchSession(carried) })
	if err := l.openControl(ctx); err != nil {
		l.end(l.lost(err))
		return l.reason
	}
	close(l.ready)
	running.Go(func() { l.end(l.readControl(receive)) })
	running.Go(func() { l.end(l.writeControl()) })
	running.Go(func() { l.end(l.beat()) })
	<-l.ended
	return l.reason
}

// openControl opens the first stream of the link, which carries heartbeats and
// messages.
func (l *Link) openControl(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	var control *mux.Stream
	if l.Dialled {
		control, err = l.session.Open(ctx)
	} else {
		control, err = l.session.Accept(ctx)
	}
	l.control = control
	return err
}

// watchSession ends the link with its session. If that could not write any more,
// the other side may have said why: it is heard out first.
func (l *Link) watchSession(carried <-chan struct{}) {
	select {
	case <-l.session.Done():
	case <-l.ended:
		return
	}
	select {
	case <-carried:
	case <-l.ended:
	case <-time.After(closeTime):
	}
	l.end(l.lost(l.session.Err()))
}

// lost finds the reason behind an error of a stream or of the session, which know
// only that they ended: it is what the reader below them met.
func (l *Link) lost(err error) error {
	if cause := l.below.failure.Load(); cause != nil {
		err = *cause
	}
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		return &ClosedError{Code(closed.Code), true, nil}
	}
	if broken, ok := errors.AsType[*mux.ProtocolError](err); ok {
		return &ClosedError{Code: CodeProtocol, Err: broken}
	}
	return fmt.Errorf("link lost: %w", err)
}

// hangUp tells the other side the code, if it still listens, and frees everything.
func (l *Link) hangUp() {
	if closed, ok := errors.AsType[*ClosedError](l.reason); ok && !closed.Remote {
		l.socket.closing.Store(true)
		timer := time.AfterFunc(closeTime, func() { l.socket.Close() })
		l.socket.ws.Close(websocket.StatusCode(closed.Code), closed.Code.String()) // best effort: the link may be dead
		timer.Stop()
	}
	l.session.Close()
	l.socket.Close()
}
