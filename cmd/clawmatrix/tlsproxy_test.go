package main

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
)

// tlsProxy is a program that ends TLS on port 19000 and passes what is inside on,
// as web servers in front of a node do.
func tlsProxy() {
	pair, err := tls.LoadX509KeyPair(os.Getenv("PROXY_CERT"), os.Getenv("PROXY_KEY"))
	if err != nil {
		panic(err)
	}
	l, err := tls.Listen("tcp", ":19000", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go pass(conn, os.Getenv("PROXY_TO"))
	}
}

func pass(conn net.Conn, to string) {
	defer conn.Close()
	onward, err := net.Dial("tcp", to)
	if err != nil {
		return // the client sees it
	}
	defer onward.Close()
	closeBoth := sync.OnceFunc(func() { conn.Close(); onward.Close() })
	var copying sync.WaitGroup
	copying.Go(func() { defer closeBoth(); io.Copy(conn, onward) })
	copying.Go(func() { defer closeBoth(); io.Copy(onward, conn) })
	copying.Wait()
}
