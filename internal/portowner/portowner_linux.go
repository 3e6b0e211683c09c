package portowner

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const listening = "0A" // the state of a socket in /proc/net/tcp

// Find returns the process that listens on port. Of other users' processes the
// system shows it to root alone.
func Find(port int) (Owner, bool) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, inode := range inodes(table, port) {
			if owner, ok := holder("socket:[" + inode + "]"); ok {
				return owner, true
			}
		}
	}
	return Owner{}, false
}

// inodes lists the sockets that listen on port: proc(5), /proc/net/tcp.
func inodes(table string, port int) []string {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []string
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == listening {
			list = append(list, fields[9])
		}
	}
	return list
}

// holder finds the process that has the socket open.
func holder(socket string) (Owner, bool) {
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return Owner{}, false
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err != nil || target != socket {
			continue
		}
		process := filepath.Dir(filepath.Dir(descriptor))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		name, err := os.ReadFile(process + "/comm")
		if err != nil {
			name = nil // it ended, or hides its name
		}
		return Owner{pid, string(bytes.TrimSpace(name))}, true
	}
	return Owner{}, false
}
