// Package websockify runs the peer of the stream benchmarks: the bridge from
// WebSocket to TCP that is commonly put before a screen's server.
package websockify

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/coder/websocket"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
)

// Install tells how to get it on Debian.
const Install = "apt-get install websockify"

const (
	startWithin = 30 * time.Second
	probeEvery  = 10 * time.Millisecond
)

// Bridge is a running websockify. Safe for concurrent use.
type Bridge struct {
	*processes.Process
	address string
}

// ToUnix runs a bridge to a unix socket.
func ToUnix(ctx context.Context, owner *processes.Owner, path string) (*Bridge, error) {
	return start(ctx, owner, "--unix-target="+path)
}

// ToTCP runs a bridge to a TCP address.
func ToTCP(ctx context.Context, owner *processes.Owner, address string) (*Bridge, error) {
	return start(ctx, owner, address)
}

func start(ctx context.Context, owner *processes.Owner, target string) (*Bridge, error) {
	program, err := harness.Need("websockify", Install)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	process, err := owner.Start(processes.Command{Path: program, Arguments: []string{address, target}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return &Bridge{Process: process, address: address}, conn.Close()
		}
		select {
		case <-time.After(probeEvery):
		case <-process.Exited():
			return nil, fmt.Errorf("websockify ended:\n%s", process.Log())
		case <-ctx.Done():
			return nil, fmt.Errorf("websockify does not accept: %w\n%s", err, process.Log())
		}
	}
}

// freeAddress gives one that was free a moment ago: websockify cannot choose
// one itself.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// Open opens a stream through the bridge with the same WebSocket client that
// the product's streams are opened with. It ends with ctx.
func (b *Bridge) Open(ctx context.Context) (net.Conn, error) {
	socket, response, err := websocket.Dial(ctx, "ws://"+b.address+"/", &websocket.DialOptions{Subprotocols: []string{"binary"}})
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("open a stream through websockify, which answers %s: %w", response.Status, err)
		}
		return nil, fmt.Errorf("open a stream through websockify: %w", err)
	}
	return websocket.NetConn(ctx, socket, websocket.MessageBinary), nil
}
