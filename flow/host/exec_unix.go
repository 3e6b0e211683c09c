//go:build !windows

package host

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"lobstah/flow/interp"
)

func setGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminateGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) } // ESRCH: it is gone, which is what we want

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// lookPath finds the program as execvp would in the child: in the PATH of its environment, relative to its directory.
func lookPath(p *interp.Process) (string, error) {
	name := p.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	var denied error
	for _, dir := range filepath.SplitList(pathOf(p.Env)) {
		path := filepath.Join(dir, name)
		if !filepath.IsAbs(dir) {
			path = "./" + path
		}
		switch err := executable(filepath.Join(p.Dir, path), path, p.Dir); {
		case err == nil:
			return path, nil
		case os.IsPermission(err):
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &fs.PathError{Op: "exec", Path: name, Err: fs.ErrNotExist}
}

func executable(relative, path, dir string) error {
	if filepath.IsAbs(path) || dir == "" {
		relative = path
	}
	info, err := os.Stat(relative)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return &fs.PathError{Op: "exec", Path: path, Err: fs.ErrPermission}
	}
	return nil
}

func pathOf(env []string) string {
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			return path
		}
	}
	return "/usr/local/bin:/bin:/usr/bin"
}
