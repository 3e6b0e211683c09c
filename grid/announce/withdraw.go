package announce

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"lobstah/internal/canonical"
	"lobstah/key"
)

// maxWithdrawal caps a withdrawal's JSON.
const maxWithdrawal = 1 << 10

// A Withdrawal says that no offer of its key up to its time counts any longer.
// It says nothing about later ones, so it cannot be replayed against them.
type Withdrawal struct {
	ID        key.ID
	At        time.Time // millisecond precision
	signature [64]byte
}

// Withdraw makes the withdrawal of all that pair has announced until now.
func Withdraw(pair key.Pair, now time.Time) Withdrawal {
	w := Withdrawal{ID: pair.ID(), At: time.UnixMilli(now.UnixMilli()).UTC()}
	w.signature = [64]byte(pair.Sign(w.statement()))
	return w
}

// statement is the original's signed text.
func (w Withdrawal) statement() []byte {
	return []byte("unannounce:" + w.ID.String() + ":" + strconv.FormatInt(w.At.UnixMilli(), 10))
}

// JSON returns the body of POST /unannounce.
func (w Withdrawal) JSON() []byte {
	return fmt.Appendf(nil, `{"pubkey":%q,"timestamp":%d,"signature":"%s"}`, w.ID.String(), w.At.UnixMilli(), hex.EncodeToString(w.signature[:]))
}

// OpenWithdrawal reads a body as [Withdrawal.JSON] makes it. The error wraps
// [ErrJSON], then [ErrStale] when its time is not within [Window] of now, then
// [ErrSignature]: the original's order.
func OpenWithdrawal(body []byte, now time.Time) (Withdrawal, error) {
	if len(body) > maxWithdrawal {
		return Withdrawal{}, fmt.Errorf("%w: larger than %d bytes", ErrJSON, maxWithdrawal)
	}
	var isObject, timed bool
	var pubkey, signature string
	var ms float64
	_, err := canonical.Read(body, func(r *canonical.Reader) {
		isObject = r.IsObject()
		for name := range r.Members() {
			switch name {
			case "pubkey":
				pubkey, _ = r.Text()
			case "signature":
				signature, _ = r.Text()
			case "timestamp":
				ms, timed = r.Number()
			}
		}
	})
	if err != nil {
		return Withdrawal{}, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if !isObject {
		return Withdrawal{}, fmt.Errorf("%w: want an object with pubkey, timestamp and signature", ErrSignature)
	}
	if !timed || ms != math.Trunc(ms) || math.Abs(float64(now.UnixMilli())-ms) > float64(Window/time.Millisecond) {
		return Withdrawal{}, fmt.Errorf("%w: the timestamp is not within %s of now", ErrStale, Window)
	}
	w := Withdrawal{At: time.UnixMilli(int64(ms)).UTC()}
	if w.ID, err = parseID(pubkey); err != nil {
		return Withdrawal{}, err
	}
	if w.signature, err = parseSignature(signature); err != nil {
		return Withdrawal{}, err
	}
	if !w.ID.Verify(w.statement(), w.signature[:]) {
		return Withdrawal{}, fmt.Errorf("%w: not made by %s over this withdrawal", ErrSignature, w.ID)
	}
	return w, nil
}
