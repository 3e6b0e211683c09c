package main

import (
	"bytes"
	"encoding/hex"
	"strings"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func replace(text []byte, old, by string) []byte {
	return bytes.Replace(text, []byte(old), []byte(by), 1)
}

func parseHash(digits string) (sum [32]byte, err error) {
	_, err = hex.Decode(sum[:], []byte(digits))
	return sum, err
}
