package interp

func defaultShell(vars map[string]string) string {
	for _, name := range []string{"ComSpec", "COMSPEC"} {
		if s := vars[name]; s != "" {
			return s
		}
	}
	return "cmd.exe"
}
