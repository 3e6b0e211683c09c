//go:build !windows

package cli

import "io"

// enableColour has nothing to do: terminals here obey escape sequences.
func enableColour(io.Writer) bool { return true }
