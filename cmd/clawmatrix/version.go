package main

import (
	"runtime"
	"runtime/debug"
)

// release is set by the linker in releases: -X main.release=1.2.3
var release string

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	a.say("clawmatrix %s %s/%s %s", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
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
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "dev-" + s.Value[:min(len(s.Value), 12)]
		}
	}
	return "dev"
}
