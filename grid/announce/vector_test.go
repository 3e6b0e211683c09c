package announce

import (
	"bytes"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
)

// The vectors of docs/tracker.md.
const (
	vectorEnvelope   = `{"announcement":{"announcedAt":1790000000000,"concurrency":2,"label":"shed","modelFacts":[{"context_length":8192,"id":"llama3.1:8b"}],"models":["llama3.1:8b"],"pubkey":"lob1d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737","tier":"batch","ttlSeconds":300,"url":"http://192.0.2.7:17474","version":1},"signature":"07f983c040eab612ff97a879c06671f7b4bd45be5de0f1ef71321effbd380e41c20c9de570afe8cf2dd7a0775fc7f462095937766eb8e78768ed77174615d501"}`
	vectorWithdrawal = `{"pubkey":"lob1d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737","timestamp":1790000060000,"signature":"5bc4b9018551e0de963f6043195b9a1a13b75887ba0fd32fd2c753bf2d85f7f377ee742aee094431052f4c1ebb8f75ae71367521c3ba3cb421670d43c45e0c07"}`
)

func TestVectors(t *testing.T) {
	t.Parallel()
	pair := key.FromSeed([32]byte(bytes.Repeat([]byte{0x11}, 32)))
	at := time.UnixMilli(1790000000000)
	s, err := Sign(pair, Offer{
		ID: pair.ID(), URL: "http://192.0.2.7:17474", Label: "shed", Models: []string{"llama3.1:8b"}, Tier: grid.Batch,
		TTL: 300 * time.Second, AnnouncedAt: at, Concurrency: 2, ModelFacts: []grid.Model{{ID: "llama3.1:8b", ContextLength: 8192}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.Envelope()); got != vectorEnvelope {
		t.Errorf("announcement:\n%s\nwant\n%s", got, vectorEnvelope)
	}
	if _, err := Open([]byte(vectorEnvelope), at); err != nil {
		t.Errorf("Open: %v", err)
	}
	if got := string(Withdraw(pair, at.Add(time.Minute)).JSON()); got != vectorWithdrawal {
		t.Errorf("withdrawal:\n%s\nwant\n%s", got, vectorWithdrawal)
	}
	if _, err := OpenWithdrawal([]byte(vectorWithdrawal), at.Add(time.Minute)); err != nil {
		t.Errorf("OpenWithdrawal: %v", err)
	}
}
