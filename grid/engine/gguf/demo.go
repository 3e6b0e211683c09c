package gguf

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
)

// The demo model is built by package tinygguf; a test holds it against that.
//
//go:generate go run ./internal/embed demo.gguf.gz

//go:embed demo.gguf.gz
var demoFile []byte

// DemoID is the demo model's name, chosen so that nobody takes it for a model that
// could answer.
const DemoID = "lobstah-demo"

// Demo is the built-in model of some 100,000 parameters. It puts known words one
// after another and says in every answer that it answers nothing.
func Demo() (*Model, error) {
	packed, err := gzip.NewReader(bytes.NewReader(demoFile))
	if err != nil {
		return nil, fmt.Errorf("unpacking the demo model: %w", err)
	}
	file, err := io.ReadAll(packed)
	if err != nil {
		return nil, fmt.Errorf("unpacking the demo model: %w", err)
	}
	m, err := read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, fmt.Errorf("loading the demo model: %w", err)
	}
	m.id = DemoID
	return m, nil
}
