package durable

import "os"

// syncDir does nothing: Windows cannot sync a directory, and NTFS journals
// renames by itself.
func syncDir(string) error { return nil }

func syncRoot(*os.Root) error { return nil }
