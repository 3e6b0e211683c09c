package ledgertest

import (
	"errors"
	"testing"

	"lobstah/ledger"
	"lobstah/receipt"
)

func testProofs(t *testing.T, o Open) {
	p := open(t, o)
	ctx := t.Context()
	first, err := p.Checkpoint(ctx)
	if err != nil {
		t.Fatalf("Checkpoint of an empty ledger: %v", err)
	}
	if c, err := ledger.OpenCheckpoint(p.pair.ID(), first); err != nil || c.Size != 0 {
		t.Fatalf("the first checkpoint is %+v, %v", c, err)
	}
	var signed []*receipt.Signed
	var older []ledger.Checkpoint
	for size := 1; size <= 20; size++ {
		signed = append(signed, p.served(receipt.Anonymous, int64(size), nil))
		note, err := p.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ledger.OpenCheckpoint(p.pair.ID(), note)
		if err != nil || c.Size != int64(size) {
			t.Fatalf("checkpoint of %d entries is %+v, %v", size, c, err)
		}
		older = append(older, c)
	}
	for i, s := range signed {
		proof, err := p.Inclusion(ctx, int64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		got, err := proof.Verify(p.pair.ID())
		if err != nil || got.Nonce != s.Nonce {
			t.Errorf("the proof of entry %d: %v", i+1, err)
		}
		growth, err := p.Consistency(ctx, older[i].Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := growth.Verify(p.pair.ID(), older[i]); err != nil {
			t.Errorf("the growth from %d: %v", older[i].Size, err)
		}
	}
	byNonce, err := p.InclusionOf(ctx, ledger.Worker, signed[7].Nonce)
	if err != nil || byNonce.Index != 7 {
		t.Errorf("InclusionOf = leaf %d, %v; want 7", byNonce.Index, err)
	}
	if _, err := p.InclusionOf(ctx, ledger.Requester, signed[7].Nonce); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("InclusionOf the other side: %v, want ErrNoEntry", err)
	}
	if _, err := p.Inclusion(ctx, 21); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("Inclusion of entry 21: %v, want ErrNoEntry", err)
	}
	if _, err := p.Consistency(ctx, 21); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("Consistency from 21: %v, want ErrNoEntry", err)
	}
	if r := p.wantSound(20); r.Signed != 20 {
		t.Errorf("%d entries are under a checkpoint, want 20", r.Signed)
	}
}
