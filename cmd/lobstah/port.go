package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"lobstah/key"
)

// inUse reports whether a port is taken, in the words of every system.
func inUse(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows)
}

// lobstahAt asks what listens on a port of this machine whether it is a worker
// or router, and returns its key.
func lobstahAt(host string, port int) (string, bool) {
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	client := &http.Client{Timeout: time.Second}
	response, err := client.Get("http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/pubkey")
	if err != nil {
		return "", false
	}
	defer response.Body.Close()
	var answer struct{ Pubkey key.ID }
	err = json.NewDecoder(io.LimitReader(response.Body, 4<<10)).Decode(&answer)
	return answer.Pubkey.String(), err == nil && !answer.Pubkey.IsZero()
}
