package receipt

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"
)

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

func TestRequestProof(t *testing.T) {
	worker, requester := pairs()
	now := time.UnixMilli(1790000000000)
	r := Request{"POST", "/v1/chat/completions", worker.ID(), requester.ID(), sum([]byte("{}"))}
	proof, err := ParseProof(r.Sign(requester, now).String())
	if err != nil || !proof.Time.Equal(now) {
		t.Fatalf("%+v, %v", proof, err)
	}
	if err := r.Verify(proof); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Request, *Proof){
		"another body":      func(r *Request, _ *Proof) { r.BodyHash = sum([]byte("{} ")) },
		"another path":      func(r *Request, _ *Proof) { r.Path = "/v1/completions" },
		"another method":    func(r *Request, _ *Proof) { r.Method = "GET" },
		"another worker":    func(r *Request, _ *Proof) { r.Worker = requester.ID() },
		"another requester": func(r *Request, _ *Proof) { r.Requester = worker.ID() },
		"another time":      func(_ *Request, p *Proof) { p.Time = p.Time.Add(time.Millisecond) },
		"another nonce":     func(_ *Request, p *Proof) { p.Nonce = NewNonce() },
	} {
		r, proof := r, proof
		change(&r, &proof)
		if err := r.Verify(proof); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v; want ErrProof", name, err)
		}
	}
}

// The published vector of docs/protocol.md.
func TestRequestVector(t *testing.T) {
	worker, requester := pairs()
	r := Request{"POST", "/v1/chat/completions", worker.ID(), requester.ID(), sum([]byte(`{"model":"llama3.1:8b","messages":[]}`))}
	p := Proof{Time: time.UnixMilli(1790000000000), Nonce: "000102030405060708090a0b0c0d0e0f"}
	p.Signature = requester.Sign(r.statement(p))
	const header = "v1;1790000000000;000102030405060708090a0b0c0d0e0f;" + vectorSignature
	if p.String() != header {
		t.Errorf("header\n got %s\nwant %s", p, header)
	}
}

func TestParseProofRefuses(t *testing.T) {
	_, requester := pairs()
	good := Request{Requester: requester.ID()}.Sign(requester, time.UnixMilli(5)).String()
	for _, bad := range []string{
		"", "v1", "v2" + good[2:], good + ";", good + "00", strings.Replace(good, ";5;", ";05;", 1),
		strings.Replace(good, ";5;", ";-5;", 1), strings.Replace(good, ";5;", ";5.0;", 1),
		strings.Replace(good, ";5;", ";99999999999999999999;", 1), "v1;5;zz;00", strings.Repeat("v", 300),
	} {
		if _, err := ParseProof(bad); !errors.Is(err, ErrProof) {
			t.Errorf("ParseProof(%q): %v; want ErrProof", bad, err)
		}
	}
}

func FuzzParseProof(f *testing.F) {
	_, requester := pairs()
	f.Add(Request{Requester: requester.ID()}.Sign(requester, time.UnixMilli(5)).String())
	f.Fuzz(func(t *testing.T, header string) {
		if p, err := ParseProof(header); err == nil && !strings.EqualFold(p.String(), header) {
			t.Errorf("%q reads as %q", header, p)
		}
	})
}

const vectorSignature = "66841257e699001b92fa662c1f2fde00fa9ea74ebbd80d0de7bf139b54f87fe3950cbbfd91cccf5f46ce30909f3b3958dba528f7df23a8a063f0acfab311240a"
