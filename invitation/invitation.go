// Package invitation is the line of text by which a machine joins others, and the
// inviter's record of the lines that it has made.
//
//   - [Invitation] is that line: the inviter's key, its addresses, a one-time
//     secret. [Parse] reads it, its String writes it.
//   - [Add], [Redeem], [Revoke], [Read] and [List] keep the record, in a file that holds
//     hashes of secrets only.
//   - [Words] are what both people compare.
//
// The forms are described byte for byte in docs/protocol.md. grid/invite and
// mesh/invite carry the secret from one to the other; this package knows no
// network. Hostile is the text that somebody pasted: it is capped and checked
// before it is believed.
package invitation

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"lobstah/key"
)

const (
	// MaxAddresses is how many addresses an invitation names at most.
	MaxAddresses = 8
	// MaxTTL is the longest that an invitation can last.
	MaxTTL = 30 * 24 * time.Hour

	maxText     = 4096
	maxHost     = 253 // RFC 1035's limit of a name
	checkSize   = 4
	guestFlag   = 1
	fixedBytes  = 1 + 32 + 16 + 4 + 1
	nameAddress = 0
)

// A Secret proves that one was invited: 128 random bits.
type Secret [16]byte

// NewSecret makes a fresh secret.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails: crypto/rand aborts the program instead
	return s
}

// String hides the secret from logs.
func (Secret) String() string { return "(secret)" }

// GoString does for %#v what String does for the others.
func (s Secret) GoString() string { return s.String() }

// hash is what the inviter remembers.
func (s Secret) hash() [32]byte {
	return sha256.Sum256(append([]byte("lobstah-secret-v1\n"), s[:]...))
}

// ID names the invitation in lists: the first six bytes of the secret's hash in
// hex, from which nobody gets to the secret.
func (s Secret) ID() string {
	h := s.hash()
	return hex.EncodeToString(h[:6])
}

// A Program is what an invitation is for, and the name of its command.
type Program string

// The programs.
const (
	Lobstah    Program = "lobstah"
	Clawmatrix Program = "clawmatrix"
)

// An Invitation is what the line carries. The zero For is Lobstah.
type Invitation struct {
	For       Program
	Inviter   key.ID
	Secret    Secret
	Expires   time.Time // whole seconds, until 2106
	Guest     bool      // models are lent, and nothing else
	Addresses []string  // host:port, the best first
}

// ErrAltered says that a line is not as it was printed.
var ErrAltered = errors.New("the checksum is wrong: something was mistyped, cut off or changed")

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the text form: the program's name, "1", and lower-case base32
// (RFC 4648, without padding) of the payload and its checksum.
func (v Invitation) String() string {
	b := v.payload()
	p := cmp.Or(v.For, Lobstah)
	return p.prefix() + strings.ToLower(encoding.EncodeToString(append(b, p.checksum(b)...)))
}

func (p Program) prefix() string { return string(p) + "1" }

func (v Invitation) payload() []byte {
	flags := byte(0)
	if v.Guest {
		flags = guestFlag
	}
	b := append(make([]byte, 0, 96), flags)
	b = append(b, v.Inviter[:]...)
	b = append(b, v.Secret[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(v.Expires.Unix()))
	b = append(b, byte(len(v.Addresses)))
	for _, a := range v.Addresses {
		b = appendAddress(b, a)
	}
	return b
}

// appendAddress writes 4 or 6 and the bytes of an IP address, or 0 and a name
// with its length, then the port.
func appendAddress(b []byte, address string) []byte {
	host, portText, _ := net.SplitHostPort(address) // Check has seen to it
	port, _ := strconv.ParseUint(portText, 10, 16)
	if ip, err := netip.ParseAddr(host); err != nil {
		b = append(b, nameAddress, byte(len(host)))
		b = append(b, host...)
	} else if ip = ip.Unmap(); ip.Is4() {
		b = append(append(b, 4), ip.AsSlice()...)
	} else {
		b = append(append(b, 6), ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port))
}

func (p Program) checksum(payload []byte) []byte {
	sum := sha256.Sum256(append([]byte(string(p)+"-invitation-v1\n"), payload...))
	return sum[:checkSize]
}

// Check says whether v can be written.
func (v Invitation) Check() error {
	switch {
	case v.Inviter.IsZero():
		return errors.New("an invitation needs the inviter's key")
	case len(v.Addresses) == 0 || len(v.Addresses) > MaxAddresses:
		return fmt.Errorf("an invitation names 1 to %d addresses, not %d", MaxAddresses, len(v.Addresses))
	case v.Expires.Unix() < 0 || v.Expires.Unix() >= 1<<32:
		return errors.New("an invitation expires before 2106")
	}
	for _, a := range v.Addresses {
		if err := CheckAddress(a); err != nil {
			return err
		}
	}
	return nil
}

// CheckAddress says whether an invitation can name this host:port.
func CheckAddress(address string) error {
	host, portText, err := net.SplitHostPort(address)
	port, portErr := strconv.ParseUint(portText, 10, 16)
	if err != nil || portErr != nil || port == 0 || strconv.FormatUint(port, 10) != portText {
		return fmt.Errorf("%.300q is not HOST:PORT", address)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.IsUnspecified() {
			return fmt.Errorf("%.300q is no address that another machine can reach", address)
		}
		return nil
	}
	if host == "" || len(host) > maxHost || strings.Trim(host, nameBytes) != "" {
		return fmt.Errorf("%.300q names no host", address)
	}
	return nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// Parse reads the text form of an invitation for a program, in either case. White
// space around it and inside (a mail's line breaks) is dropped, and so is the
// command before it, such as "lobstah join".
func Parse(p Program, text string) (Invitation, error) {
	if len(text) > maxText {
		return Invitation{}, fmt.Errorf("an invitation is shorter than %d characters", maxText)
	}
	text = strings.TrimPrefix(strings.ToLower(strings.Join(strings.Fields(text), "")), string(p)+"join")
	rest, ok := strings.CutPrefix(text, p.prefix())
	if !ok {
		return Invitation{}, p.foreign(text)
	}
	raw, err := encoding.DecodeString(strings.ToUpper(rest))
	if err != nil || len(raw) < fixedBytes+checkSize || strings.ToLower(encoding.EncodeToString(raw)) != rest {
		return Invitation{}, ErrAltered
	}
	payload := raw[:len(raw)-checkSize]
	if string(p.checksum(payload)) != string(raw[len(payload):]) {
		return Invitation{}, ErrAltered
	}
	v, err := decode(payload)
	v.For = p
	if err == nil && v.String() != text {
		err = errors.New("the invitation is not written as this version writes it")
	}
	if err != nil {
		return Invitation{}, err
	}
	return v, nil
}

// foreign says what a text is that is no invitation for p.
func (p Program) foreign(text string) error {
	for _, other := range []Program{Lobstah, Clawmatrix} {
		if other != p && strings.HasPrefix(text, other.prefix()) {
			return fmt.Errorf("this invitation is for %s: %s join", other, other)
		}
	}
	return fmt.Errorf("an invitation begins with %s", p.prefix())
}

func decode(b []byte) (v Invitation, err error) {
	if b[0]&^guestFlag != 0 {
		return v, errors.New("this invitation asks for something that this version does not know; update the program")
	}
	v.Guest = b[0]&guestFlag != 0
	v.Inviter = key.ID(b[1:33])
	v.Secret = Secret(b[33:49])
	v.Expires = time.Unix(int64(binary.BigEndian.Uint32(b[49:53])), 0).UTC()
	count, rest := int(b[53]), b[fixedBytes:]
	for range count {
		var address string
		if address, rest, err = decodeAddress(rest); err != nil {
			return Invitation{}, err
		}
		v.Addresses = append(v.Addresses, address)
	}
	if len(rest) != 0 {
		return Invitation{}, errors.New("the invitation has bytes after its end")
	}
	if err := v.Check(); err != nil {
		return Invitation{}, err
	}
	return v, nil
}

func decodeAddress(b []byte) (address string, rest []byte, err error) {
	short := errors.New("the invitation ends within an address")
	if len(b) < 2 {
		return "", nil, short
	}
	kind, size := b[0], 0
	switch b = b[1:]; kind {
	case 4:
		size = 4
	case 6:
		size = 16
	case nameAddress:
		size, b = int(b[0]), b[1:]
	default:
		return "", nil, errors.New("the invitation has an address of an unknown kind; update the program")
	}
	if len(b) < size+2 {
		return "", nil, short
	}
	host := string(b[:size])
	if kind != nameAddress {
		ip, _ := netip.AddrFromSlice(b[:size])
		host = ip.String()
	}
	port := binary.BigEndian.Uint16(b[size:])
	return net.JoinHostPort(host, strconv.Itoa(int(port))), b[size+2:], nil
}
