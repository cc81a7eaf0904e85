package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

// maxAgents bounds the connections to the control socket; one agent has a few.
const maxAgents = 32

// control listens for agents. Nothing stops it but the end of this process,
// which is what its connections are there to tell.
func (s *supervisor) control() error {
	// The relative path keeps within the 107 bytes of a socket's name.
	listener, err := net.Listen("unix", runtimedir.ControlSocket)
	if err != nil {
		return err
	}
	if err := os.Chmod(runtimedir.ControlSocket, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	stops := make(chan struct{}, 1)
	s.stops = stops
	go acceptAgents(listener, stops)
	return nil
}

func acceptAgents(listener net.Listener, stops chan<- struct{}) {
	slots := make(chan struct{}, maxAgents)
	for {
		slots <- struct{}{}
		conn, err := listener.Accept()
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "accept an agent:", err)
			<-slots
			continue
		}
		go func() {
			defer func() { <-slots }()
			hear(conn, stops)
		}()
	}
}

// hear waits for requests until the agent goes.
func hear(conn net.Conn, stops chan<- struct{}) {
	defer func() { _ = conn.Close() }()
	lines := bufio.NewReaderSize(conn, 64)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		if string(line) == runtimedir.StopRequest {
			select {
			case stops <- struct{}{}:
			default: // it was asked for before
			}
		}
	}
}
