package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// release is set by the linker in releases: -X main.release=1.2.3
var release string

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	a.say("lobstah %s %s/%s %s", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return nil
}

// version is the release, else the commit that was built.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	if commit == "" {
		return "dev"
	}
	return cmp.Or(release, "dev-"+commit+dirty)
}
