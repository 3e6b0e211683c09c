package ledger

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// The tree's hashes are stored as tiles of 256, the layout of
// golang.org/x/mod/sumdb/tlog: tile N of level L holds the hashes of the
// perfect subtrees of 256^L entries, from 256*N on. So an entry costs one hash
// on disk and a proof reads a few tiles, however large the tree.
const (
	TileHeight = 8
	tileWidth  = 1 << TileHeight
)

// A Tile is a run of hashes as stored: up to 256 times 32 bytes.
type Tile struct {
	Level  int
	N      int64
	Hashes []byte
}

// A Tree is the growing edge of a Merkle tree (RFC 6962) over canonical
// envelopes. It keeps what the next entry needs, a few kilobytes, and is not
// safe for concurrent use. The zero Tree is empty.
type Tree struct {
	size  int64
	peaks []tlog.Hash // [k] is the root of the newest perfect subtree of 2^k entries, while bit k of size is set
	edge  []Tile      // the incomplete tile of each level
	dirty []bool      // edge tiles that changed since Changed
	full  []Tile      // tiles that were completed since Changed
}

// ReadTile returns the stored hashes of a tile, which may be incomplete.
type ReadTile func(level int, n int64) ([]byte, error)

// LoadTree reads the edge of a tree of size entries.
func LoadTree(size int64, read ReadTile) (*Tree, error) {
	t := &Tree{size: size}
	for level := 0; size>>(TileHeight*level) > 0; level++ {
		count := size >> (TileHeight * level)
		tile := Tile{Level: level, N: count / tileWidth}
		if width := int(count%tileWidth) * tlog.HashSize; width > 0 {
			hashes, err := read(level, tile.N)
			if err != nil {
				return nil, err
			}
			if len(hashes) != width {
				return nil, fmt.Errorf("%w: tile %d of level %d has %d bytes, want %d", ErrDamaged, tile.N, level, len(hashes), width)
			}
			tile.Hashes = hashes
		}
		t.edge = append(t.edge, tile)
		t.dirty = append(t.dirty, false)
	}
	t.raisePeaks()
	return t, nil
}

// raisePeaks computes the peaks from the edge.
func (t *Tree) raisePeaks() {
	for k := 0; t.size>>k > 0; k++ {
		t.peaks = append(t.peaks, tlog.Hash{})
		if t.size>>k&1 == 0 {
			continue
		}
		level := k / TileHeight
		width := 1 << (k % TileHeight)
		start := int(t.size>>(TileHeight*level)) % tileWidth &^ (2*width - 1)
		t.peaks[k] = fold(t.edge[level].Hashes[start*tlog.HashSize : (start+width)*tlog.HashSize])
	}
}

// fold returns the root over a power of two of hashes.
func fold(hashes []byte) tlog.Hash {
	if len(hashes) == tlog.HashSize {
		return tlog.Hash(hashes)
	}
	half := len(hashes) / 2
	return tlog.NodeHash(fold(hashes[:half]), fold(hashes[half:]))
}

// Size is the number of entries.
func (t *Tree) Size() int64 { return t.size }

// Append adds an entry's canonical envelope as the next leaf.
func (t *Tree) Append(envelope []byte) {
	h := tlog.RecordHash(envelope)
	t.keep(0, h)
	k := 0
	for ; t.size>>k&1 == 1; k++ {
		h = tlog.NodeHash(t.peaks[k], h)
		if (k+1)%TileHeight == 0 {
			t.keep((k+1)/TileHeight, h)
		}
	}
	if k == len(t.peaks) {
		t.peaks = append(t.peaks, h)
	}
	t.peaks[k] = h
	t.size++
}

// keep adds a hash to the edge tile of a level.
func (t *Tree) keep(level int, h tlog.Hash) {
	if level == len(t.edge) {
		t.edge = append(t.edge, Tile{Level: level})
		t.dirty = append(t.dirty, false)
	}
	tile := &t.edge[level]
	tile.Hashes = append(tile.Hashes, h[:]...)
	t.dirty[level] = true
	if len(tile.Hashes) == tileWidth*tlog.HashSize {
		t.full = append(t.full, *tile)
		*tile = Tile{Level: level, N: tile.N + 1}
		t.dirty[level] = false
	}
}

// Changed returns the tiles to store since the last call. They are valid until
// the next Append.
func (t *Tree) Changed() []Tile {
	changed := t.full
	t.full = nil
	for level, dirty := range t.dirty {
		if dirty {
			changed = append(changed, t.edge[level])
			t.dirty[level] = false
		}
	}
	return changed
}

// Root returns the root hash; an empty tree has SHA-256 of nothing.
func (t *Tree) Root() tlog.Hash {
	root := tlog.Hash(sha256.Sum256(nil))
	started := false
	for k := range t.peaks {
		switch {
		case t.size>>k&1 == 0:
		case !started:
			root, started = t.peaks[k], true
		default:
			root = tlog.NodeHash(t.peaks[k], root)
		}
	}
	return root
}

// ReadHashes implements [tlog.HashReader] over stored tiles.
func (read ReadTile) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		tile := tlog.TileForIndex(TileHeight, index)
		data, err := read(tile.L, tile.N)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%w: tile %d of level %d is short", ErrDamaged, tile.N, tile.L)
		}
		if list[i], err = tlog.HashFromTile(tile, data, index); err != nil {
			return nil, fmt.Errorf("%w: tile %d of level %d: %w", ErrDamaged, tile.N, tile.L, err)
		}
	}
	return list, nil
}
