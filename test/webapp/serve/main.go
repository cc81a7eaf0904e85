// Command serve serves the app of package webapp as a session does: on the socket
// in STREAMSPACE_HTTP_SOCKET, or else on port 8080.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/streamspace/streamspace/test/webapp"
)

func main() {
	network, address := "tcp", ":8080"
	if socket := os.Getenv("STREAMSPACE_HTTP_SOCKET"); socket != "" {
		network, address = "unix", socket
	}
	listener, err := net.Listen(network, address)
	if err == nil {
		err = http.Serve(listener, &webapp.App{Name: os.Getenv("STREAMSPACE_SESSION"), Prefix: strings.TrimSuffix(os.Getenv("PREFIX"), "/"),
			Home: os.Getenv("HOME")})
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
