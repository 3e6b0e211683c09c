package cmdline

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is a release, or where that is empty the commit that was built, with a
// plus when the tree had more.
func Version(release string) string {
	info, ok := debug.ReadBuildInfo()
	switch {
	case release != "":
		return release
	case !ok:
		return "dev"
	}
	commit, more := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = "-" + s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			more = "+"
		}
	}
	return "dev" + commit + more
}

// VersionLine names a program's version and what it was built for and with.
func (p *Program) VersionLine(version string) string {
	return fmt.Sprintf("%s %s %s/%s %s", p.Name, version, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
