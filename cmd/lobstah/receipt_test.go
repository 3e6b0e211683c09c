package main

import (
	"os"
	"testing"
)

// FuzzJudge feeds what users may give to receipt verify.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[]", "[{},null]", "{\"receipts\":[{}]}", "{\"receipt\":1}\n{", "eyJhIjoxfQ==", "\ufeff{}", "\n\n{}\n",
	} {
		f.Add([]byte(seed))
	}
	if vectors, err := os.ReadFile("../../receipt/testdata/vectors.json"); err == nil {
		f.Add(vectors)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, v := range judge(data) {
			if v.Index != i+1 || v.Genuine == (v.Reason != "") || v.Countersigned && !v.Genuine && v.Unsigned != "" {
				t.Errorf("verdict %d of %q: %+v", i, data, v)
			}
		}
	})
}
