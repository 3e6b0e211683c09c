package ledger_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"lobstah/ledger"
)

// store keeps tiles as a backend does.
type store map[[2]int64][]byte

func (s store) save(tiles []ledger.Tile) {
	for _, t := range tiles {
		s[[2]int64{int64(t.Level), t.N}] = bytes.Clone(t.Hashes)
	}
}

func (s store) read(level int, n int64) ([]byte, error) {
	hashes, ok := s[[2]int64{int64(level), n}]
	if !ok {
		return nil, fmt.Errorf("tile %d of level %d is missing", n, level)
	}
	return hashes, nil
}

func record(n int64) []byte { return fmt.Appendf(nil, "record %d", n) }

// TestTree compares every size with the hashes that tlog itself stores.
func TestTree(t *testing.T) {
	t.Parallel()
	var tree ledger.Tree
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (list []tlog.Hash, _ error) {
		for _, i := range indexes {
			list = append(list, hashes[i])
		}
		return list, nil
	})
	tiles := store{}
	for n := range int64(1200) {
		more, err := tlog.StoredHashes(n, record(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
		tree.Append(record(n))
		want, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		if tree.Size() != n+1 || tree.Root() != want {
			t.Fatalf("size %d root %s, want %d %s", tree.Size(), tree.Root(), n+1, want)
		}
		if n%7 != 0 {
			continue // several appends to one Changed, as in a group
		}
		tiles.save(tree.Changed())
		got, err := tlog.TreeHash(n+1, ledger.ReadTile(tiles.read))
		if err != nil || got != want {
			t.Fatalf("the tiles of %d entries give %s, %v; want %s", n+1, got, err, want)
		}
		again, err := ledger.LoadTree(n+1, tiles.read)
		if err != nil || again.Root() != want {
			t.Fatalf("loading %d entries: %v", n+1, err)
		}
	}
}

// TestTreeDeep goes over the third level of tiles.
func TestTreeDeep(t *testing.T) {
	t.Parallel()
	var tree ledger.Tree
	tiles := store{}
	for n := range int64(1<<16 + 300) {
		tree.Append(record(n))
		if n%1000 == 0 {
			tiles.save(tree.Changed())
			again, err := ledger.LoadTree(n+1, tiles.read)
			if err != nil {
				t.Fatal(err)
			}
			if again.Root() != tree.Root() {
				t.Fatalf("a reloaded tree of %d entries differs", n+1)
			}
			tree = *again // go on from what was stored
		}
	}
	tiles.save(tree.Changed())
	read := ledger.ReadTile(tiles.read)
	size := tree.Size()
	for range 200 {
		n := rand.Int64N(size)
		proof, err := tlog.ProveRecord(size, n, read)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, tree.Root(), n, tlog.RecordHash(record(n))); err != nil {
			t.Errorf("record %d: %v", n, err)
		}
		old, err := tlog.TreeHash(n+1, read)
		if err != nil {
			t.Fatal(err)
		}
		growth, err := tlog.ProveTree(size, n+1, read)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(growth, size, tree.Root(), n+1, old); err != nil {
			t.Errorf("growth from %d: %v", n+1, err)
		}
	}
}

func TestLoadTreeDamaged(t *testing.T) {
	t.Parallel()
	var tree ledger.Tree
	tiles := store{}
	for n := range int64(300) {
		tree.Append(record(n))
	}
	tiles.save(tree.Changed())
	for name, damage := range map[string]func(store){
		"missing": func(s store) { delete(s, [2]int64{0, 1}) },
		"short":   func(s store) { s[[2]int64{0, 1}] = s[[2]int64{0, 1}][:32] },
		"long":    func(s store) { s[[2]int64{1, 0}] = slices.Repeat(s[[2]int64{1, 0}], 2) },
	} {
		copied := store{}
		for k, v := range tiles {
			copied[k] = bytes.Clone(v)
		}
		damage(copied)
		if _, err := ledger.LoadTree(300, copied.read); err == nil {
			t.Errorf("%s: a damaged tree was loaded", name)
		}
	}
}
