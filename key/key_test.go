package key

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The worker's keys of the vectors that were recorded from the original.
const (
	vectorID          = "lob1d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737"
	vectorSeed        = "1111111111111111111111111111111111111111111111111111111111111111"
	vectorNostrPublic = "3c72addb4fdf09af94f0c94d7fe92a386a7e70cf8a1d85916386bb2535c7b1b1"
	vectorNostrSecret = "3333333333333333333333333333333333333333333333333333333333333333"
)

func recordedIdentity() string {
	return fmt.Sprintf("{\n  \"version\": 2,\n  \"publicKey\": %q,\n  \"secretKey\": %q,\n  \"nostrPublicKey\": %q,\n  \"nostrSecretKey\": %q\n}",
		vectorID, vectorSeed, vectorNostrPublic, vectorNostrSecret)
}

func vectorPair() Pair {
	var seed [32]byte
	for i := range seed {
		seed[i] = 0x11
	}
	return FromSeed(seed)
}

func TestParseID(t *testing.T) {
	id, err := ParseID(vectorID)
	if err != nil || id != vectorPair().ID() || id.String() != vectorID {
		t.Errorf("ParseID(%s) = %s, %v", vectorID, id, err)
	}
	for _, bad := range []string{
		"", "lob1", vectorID[4:], vectorID[:67], vectorID + "0", strings.ToUpper(vectorID),
		"lob1" + strings.ToUpper(vectorID[4:]), "lob1" + strings.Repeat("g", 64), " " + vectorID, "not-a-key",
	} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %s; want an error", bad, id)
		}
	}
}

func TestIDAsJSON(t *testing.T) {
	in := map[string]ID{"a": vectorPair().ID(), "nobody": {}}
	data, err := json.Marshal(in)
	if want := `{"a":"` + vectorID + `","nobody":""}`; err != nil || string(data) != want {
		t.Fatalf("got %s, %v; want %s", data, err, want)
	}
	var out map[string]ID
	if err := json.Unmarshal(data, &out); err != nil || out["a"] != in["a"] || !out["nobody"].IsZero() {
		t.Errorf("read back %v, %v", out, err)
	}
}

func TestSecretsStayOutOfText(t *testing.T) {
	id := Identity{Pair: vectorPair()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, id.Pair); strings.Contains(text, "1111") || strings.Contains(text, "17 17") {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func TestIdentityFileIsTheOriginals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.json")
	if err := os.WriteFile(path, []byte(recordedIdentity()), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := Load(path)
	if err != nil || id.ID().String() != vectorID {
		t.Fatalf("Load = %v, %v", id.ID(), err)
	}
	if err := id.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != recordedIdentity() {
		t.Errorf("saved\n%s\nwant the original's bytes\n%s", got, recordedIdentity())
	}
}

func TestVersion1GetsANostrKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.json")
	old := fmt.Sprintf(`{"version":1,"publicKey":%q,"secretKey":%q}`, vectorID, vectorSeed)
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load(path)
	if err != nil || second.NostrSecret != first.NostrSecret || second.NostrSecret == [32]byte{} || second.ID() != first.ID() {
		t.Errorf("the rewritten file reads as %v, %v; want the same keys as before", second.ID(), err)
	}
	if data, _ := os.ReadFile(path); !strings.Contains(string(data), `"version": 2`) {
		t.Errorf("the file was not rewritten as version 2:\n%s", data)
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "identity.json")
	made, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	read, created, err := LoadOrCreate(path)
	if err != nil || created || read.Seed() != made.Seed() || read.NostrSecret != made.NostrSecret {
		t.Errorf("the second call gave created=%v, %v, other keys=%v", created, err, read.Seed() != made.Seed())
	}
}

func TestDamagedIdentityIsKept(t *testing.T) {
	other := strings.Replace(recordedIdentity(), vectorID, "lob1"+strings.Repeat("0", 64), 1)
	for name, test := range map[string]struct {
		content string
		line    int
	}{
		"cut":            {"{\n  \"version\": 2,\n  \"publ", 3},
		"empty":          {"", 1},
		"wrong type":     {"{\n\"version\": 2,\n\"publicKey\": 5}", 3},
		"future version": {`{"version":3}`, 0},
		"no secret":      {`{"version":2}`, 0},
		"foreign public": {other, 0},
		"odd nostr":      {strings.Replace(recordedIdentity(), vectorNostrSecret, strings.Repeat("0", 64), 1), 0},
		"foreign nostr":  {strings.Replace(recordedIdentity(), vectorNostrPublic, strings.Repeat("0", 64), 1), 0},
		"secret not hex": {strings.Replace(recordedIdentity(), vectorSeed, strings.Repeat("z", 64), 1), 0},
		"array":          {"[]", 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := LoadOrCreate(path)
			damage, ok := errors.AsType[*DamagedError](err)
			if !ok || damage.Line != test.line || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v; want damage of %s in line %d", err, path, test.line)
			}
			if strings.Contains(err.Error(), vectorSeed) {
				t.Errorf("the error shows the secret: %v", err)
			}
			if after, _ := os.ReadFile(path); string(after) != test.content {
				t.Errorf("the damaged file was changed to %q", after)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gave %v; want fs.ErrNotExist", err)
	}
}

func TestPinnedTLS(t *testing.T) {
	server, stranger := vectorPair(), Generate()
	if err := handshake(t, server, server.ID()); err != nil {
		t.Errorf("the pinned key was refused: %v", err)
	}
	err := handshake(t, stranger, server.ID())
	if !errors.Is(err, ErrNotPinned) || !strings.Contains(err.Error(), stranger.ID().String()) || !strings.Contains(err.Error(), vectorID) {
		t.Errorf("another key gave %v; want ErrNotPinned with both keys", err)
	}
}

// handshake connects a client that expects want to a server that is pair.
func handshake(t *testing.T, pair Pair, want ID) error {
	t.Helper()
	config, err := pair.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = tls.Server(conn, config).HandshakeContext(t.Context())
			conn.Close()
		}
		served <- err
	}()
	client, err := tls.Dial("tcp", listener.Addr().String(), PinnedTLS(want))
	if err != nil {
		<-served
		return err
	}
	if client.ConnectionState().Version != tls.VersionTLS13 {
		t.Error("not TLS 1.3")
	}
	client.Close()
	return <-served
}

func FuzzParseID(f *testing.F) {
	f.Add(vectorID)
	f.Add("lob1")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := ParseID(text); err == nil && id.String() != text {
			t.Errorf("%q reads as %s", text, id)
		}
	})
}
