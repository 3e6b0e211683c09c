// Package secretfile reads files that hold one secret, such as a token or a key
// of a provider: a line of text in a file that only its owner may read.
//
// Call [Read]. Commands and the parts that are given the name of such a file
// import it. The text comes from the file's owner; it is capped, and stands in no
// error.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

const maxBytes = 64 << 10

// Read returns the text without space around it. Missing files are fs.ErrNotExist.
func Read(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("others can read the secret in %s: chmod 600 it", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || len(data) > maxBytes || strings.ContainsFunc(text, control) {
		return "", fmt.Errorf("%s: %w", path, errNoSecret)
	}
	return text, nil
}

var errNoSecret = errors.New("want one line of text, the secret, and nothing else")

func control(r rune) bool { return r < ' ' || r == 0x7f }
