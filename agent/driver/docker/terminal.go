package docker

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver/terminal"
)

// resizeWithin bounds a change of a window's size.
const resizeWithin = 5 * time.Second

// shared is a container's terminal while somebody views it. What was shown
// before comes from the engine, which keeps it.
type shared struct {
	*terminal.Terminal
	device  *device
	viewers int
}

// device is a container's terminal as the engine gives it.
type device struct {
	engine *client.Client
	id     string
	stream client.ContainerAttachResult
}

// Read implements terminal.Device.
func (d *device) Read(into []byte) (int, error) { return d.stream.Reader.Read(into) }

// Write implements terminal.Device.
func (d *device) Write(input []byte) (int, error) { return d.stream.Conn.Write(input) }

// Resize implements terminal.Device.
func (d *device) Resize(columns, rows uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), resizeWithin)
	defer cancel()
	_, err := d.engine.ContainerResize(ctx, d.id, client.ContainerResizeOptions{Width: uint(columns), Height: uint(rows)})
	return err
}

// joinTerminal makes a viewer of a container's terminal. With the last viewer
// goes what the agent has of it.
func (d *Driver) joinTerminal(ctx context.Context, id string) (net.Conn, error) {
	release, err := d.homes.Take(ctx, "terminal "+id)
	if err != nil {
		return nil, err
	}
	defer release()
	d.mu.Lock()
	one := d.terminals[id]
	if one != nil {
		one.viewers++
	}
	d.mu.Unlock()
	if one == nil {
		// The engine takes the stream to be over with the context that asked for it.
		stream, err := d.engine.ContainerAttach(context.WithoutCancel(ctx), id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true, Logs: true})
		if err != nil {
			return nil, unreachable("open a terminal", err)
		}
		screen := &device{engine: d.engine, id: id, stream: stream}
		one = &shared{Terminal: terminal.New(screen, terminal.Options{}), device: screen, viewers: 1}
		d.mu.Lock()
		d.terminals[id] = one
		d.mu.Unlock()
		go d.show(id, one)
	}
	ours, theirs := net.Pipe()
	one.Attach(ours)
	return &view{Conn: theirs, leave: sync.OnceFunc(func() { d.leaveTerminal(one) })}, nil
}

// show carries the terminal's output until the container ends or nobody views
// it.
func (d *Driver) show(id string, one *shared) {
	one.Run()
	d.mu.Lock()
	if d.terminals[id] == one {
		delete(d.terminals, id)
	}
	d.mu.Unlock()
	one.device.stream.Close()
	one.Close()
}

func (d *Driver) leaveTerminal(one *shared) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.viewers--; one.viewers == 0 {
		if d.terminals[one.device.id] == one {
			delete(d.terminals, one.device.id)
		}
		one.device.stream.Close() // show ends, and the rest with it
	}
}

// view is a viewer's end of a terminal.
type view struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (v *view) Close() error {
	err := v.Conn.Close()
	v.leave()
	return err
}
