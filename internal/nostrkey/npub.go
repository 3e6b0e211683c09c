package nostrkey

import "strings"

// Npub is the text form of a public key (NIP-19: bech32 as in BIP-173, with the
// prefix npub).
func Npub(public [32]byte) string {
	const prefix, alphabet = "npub", "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	data := fiveBits(public[:])
	var out strings.Builder
	out.WriteString(prefix + "1")
	for _, v := range append(data, checksum(prefix, data)...) {
		out.WriteByte(alphabet[v])
	}
	return out.String()
}

// fiveBits regroups bytes into groups of five bits, the last one padded.
func fiveBits(data []byte) []byte {
	var out []byte
	var bits uint32
	n := 0
	for _, b := range data {
		bits, n = bits<<8|uint32(b), n+8
		for ; n >= 5; n -= 5 {
			out = append(out, byte(bits>>(n-5)&31))
		}
	}
	if n > 0 {
		out = append(out, byte(bits<<(5-n)&31))
	}
	return out
}

// checksum is BIP-173's: six groups of a BCH code over prefix and data.
func checksum(prefix string, data []byte) []byte {
	var values []byte
	for _, c := range []byte(prefix) {
		values = append(values, c>>5)
	}
	values = append(values, 0)
	for _, c := range []byte(prefix) {
		values = append(values, c&31)
	}
	values = append(append(values, data...), 0, 0, 0, 0, 0, 0)
	sum := polymod(values) ^ 1
	out := make([]byte, 6)
	for i := range out {
		out[i] = byte(sum >> (5 * (5 - i)) & 31)
	}
	return out
}

func polymod(values []byte) uint32 {
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = sum&0x1FFFFFF<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}
