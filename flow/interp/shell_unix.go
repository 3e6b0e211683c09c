//go:build !windows

package interp

func defaultShell(map[string]string) string { return "/bin/sh" }
