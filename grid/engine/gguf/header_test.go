package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"lobstah/internal/tinygguf"
)

// writer puts hostile headers together.
type writer struct{ bytes.Buffer }

func newWriter(version uint32, tensors, keys uint64) *writer {
	w := &writer{}
	w.WriteString("GGUF")
	return w.put(version).put(tensors).put(keys)
}

func (w *writer) put(v any) *writer {
	switch v := v.(type) {
	case string:
		w.put(uint64(len(v)))
		w.WriteString(v)
	case int:
		w.put(uint32(v))
	default:
		if err := binary.Write(w, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return w
}

func (w *writer) data(n int) *writer {
	w.Write(make([]byte, n))
	return w
}

// tensor is a header with one tensor and no metadata.
func tensorHeader(name string, dims []uint64, typ int, offset uint64) *writer {
	return newWriter(3, 1, 0).put(name).put(len(dims)).put(dims).put(typ).put(offset)
}

func TestHostileHeadersAreRefused(t *testing.T) {
	t.Parallel()
	huge := uint64(math.MaxUint64)
	tests := []struct {
		name string
		file *writer
		want string
	}{
		{"empty", &writer{}, "cut off"},
		{"another file", (&writer{}).put("not a model").data(100), "not a GGUF file"},
		{"version 1", newWriter(1, 0, 0), "version 1 is not supported"},
		{"big-endian", newWriter(3<<24, 0, 0), "big-endian"},
		{"tensors", newWriter(3, huge, 0), "tensors"},
		{"keys", newWriter(3, 0, 1<<40), "metadata keys"},
		{"key", newWriter(3, 0, 1).put(huge).data(64), "string of 18446744073709551615 bytes"},
		{"string", newWriter(3, 0, 1).put("k").put(8).put(uint64(1) << 62).data(64), "string of 4611686018427387904 bytes"},
		{"value type", newWriter(3, 0, 1).put("k").put(99).data(64), "unknown type 99"},
		{"array", newWriter(3, 0, 1).put("k").put(9).put(4).put(uint64(1) << 60).data(64), "elements of an array"},
		{"array of arrays", newWriter(3, 0, 1).put("k").put(9).put(9).put(uint64(1)).data(64), "unsupported type 9"},
		{"key twice", newWriter(3, 0, 2).put("k").put(7).data(1).put("k").put(7).data(1), "occurs twice"},
		{"cut off", newWriter(3, 0, 1).put("k").put(10).data(4), "cut off"},
		{"dimensions", tensorHeader("t", make([]uint64, 5), 0, 0).data(64), "5 dimensions"},
		{"no numbers", tensorHeader("t", []uint64{4, 0}, 0, 0).data(64), "impossible shape"},
		{"product", tensorHeader("t", []uint64{1 << 32, 1 << 32}, 0, 0).data(64), "impossible shape"},
		{"negative", tensorHeader("t", []uint64{1 << 63, 2}, 0, 0).data(64), "impossible shape"},
		{"outside", tensorHeader("t", []uint64{1024}, 0, 0).data(64), "outside of the file"},
		{"offset", tensorHeader("t", []uint64{1}, 0, huge).data(64), "outside of the file"},
		{"large offset", tensorHeader("t", []uint64{1}, 0, math.MaxInt64-31).data(64), "outside of the file"},
		{"crooked offset", tensorHeader("t", []uint64{1}, 0, 3).data(64), "outside of the file"},
		{"overlap", newWriter(3, 2, 0).put("a").put(1).put(uint64(20)).put(0).put(uint64(0)).put("b").put(1).put(uint64(20)).put(0).put(uint64(0)).data(128), "overlap"},
		{"alignment", newWriter(3, 0, 1).put("general.alignment").put(4).put(0), "general.alignment is 0"},
		{"long name", tensorHeader(strings.Repeat("x", 65), []uint64{1}, 0, 0).data(64), "string of 65 bytes"},
	}
	for _, test := range tests {
		_, err := readHeader(bytes.NewReader(test.file.Bytes()), int64(test.file.Len()))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// changed builds a model, replaces some bytes of it by others of the same length,
// and tries to load it.
func changed(t *testing.T, spec tinygguf.Spec, old, replacement string) error {
	t.Helper()
	data, err := spec.Build()
	if err != nil {
		t.Fatal(err)
	}
	if len(old) != len(replacement) || bytes.Count(data, []byte(old)) == 0 {
		t.Fatalf("%q is not in the file, or %q is of another length", old, replacement)
	}
	data = bytes.ReplaceAll(data, []byte(old), []byte(replacement))
	_, err = read(bytes.NewReader(data), int64(len(data)))
	return err
}

func TestUnsupportedModelsAreRefusedByName(t *testing.T) {
	t.Parallel()
	number := func(key string, n byte) string { return key + "\x04\x00\x00\x00" + string([]byte{n, 0, 0, 0}) }
	tests := []struct{ name, old, replacement, want string }{
		{"architecture", "architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama", "architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00qwen2", `architecture is "qwen2"`},
		{"tokenizer", "ggml.model\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama", "ggml.model\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00t5uni", `tokenizer "t5uni"`},
		{"bias", "blk.0.attn_q.weight", "blk.0.attn_q.biases", "blk.0.attn_q.weight is missing"},
		{"extra tensor", "blk.1.ffn_norm.weight", "blk.1.ffn_gate.weight", "occurs twice"},
		{"sizes", number("llama.embedding_length", 64), number("llama.embedding_length", 32), "has the shape"},
		{"layers", number("llama.block_count", 2), number("llama.block_count", 1), "no use for tensor blk.1."},
		{"no layers", number("llama.block_count", 2), number("llama.block_count", 0), "block_count is missing or 0"},
		{"heads", number("attention.head_count_kv", 2), number("attention.head_count_kv", 0), "cannot share 0"},
		{"odd heads", number("attention.key_length", 32), number("attention.key_length", 31), "equal and even"},
		{"begin", number("bos_token_id", 1), number("bos_token_id", 1)[:16] + "\xff\xff\xff\x7f", "bos_token_id"},
	}
	for _, test := range tests {
		err := changed(t, tinygguf.Random(1), test.old, test.replacement)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	if err := changed(t, tinygguf.RandomBPE(1, "smollm"), "smollm", "tekken"); err == nil || !strings.Contains(err.Error(), `pre-tokenizer "tekken"`) {
		t.Errorf("pre-tokenizer: error %v, want one that names tekken", err)
	}
	for key := range refusedKeys {
		_, err := readConfig(metadata{key: uint64(8)}, 100)
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v, want one that names it", key, err)
		}
	}
	yarn := tinygguf.Random(1)
	yarn.RopeScale = 2
	if err := changed(t, yarn, "linear", "yarn++"); err == nil || !strings.Contains(err.Error(), `RoPE scaling "yarn++"`) {
		t.Errorf("RoPE scaling: error %v, want one that names it", err)
	}
}
