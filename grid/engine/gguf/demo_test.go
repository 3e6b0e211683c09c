package gguf

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"lobstah/internal/tinygguf"
)

func TestDemoIsTheGeneratorsModel(t *testing.T) {
	t.Parallel()
	packed, err := gzip.NewReader(bytes.NewReader(demoFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tinygguf.Demo().Build()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the embedded model has %d bytes, another than the generator's of %d bytes: run go generate", len(got), len(want))
	}
}

func TestDemoFacts(t *testing.T) {
	t.Parallel()
	m, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	if m.ID() != "lobstah-demo" || m.Architecture() != "llama" || m.Type() != "F16" || m.TrainedContext() != 2048 {
		t.Errorf("facts are %s %s %s %d, want lobstah-demo llama F16 2048", m.ID(), m.Architecture(), m.Type(), m.TrainedContext())
	}
	if want := "sha256:fbd3e54089a33516f439d9ac5af1d5053ad716b3f4926efc6c35949b65eb1a23"; m.Digest() != want {
		t.Errorf("Digest() = %s, want %s", m.Digest(), want)
	}
}
