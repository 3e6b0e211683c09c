package main

import "lobstah/internal/cmdline"

// release is set by the linker in releases: -X main.release=1.2.3
var release string

// version is the release, else the commit that was built.
func version() string { return cmdline.Version(release) }

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	a.say("%s", program.VersionLine(version()))
	return nil
}
