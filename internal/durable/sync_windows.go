package durable

// syncDir does nothing: Windows cannot sync a directory, and NTFS journals
// renames by itself.
func syncDir(string) error { return nil }
