// Command rfb greets whoever connects as a VNC server does (RFC 6143, 7.1.1),
// and says nothing else.
package main

import (
	"io"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", ":5900")
	if err != nil {
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "RFB 003.008\n")
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
}
