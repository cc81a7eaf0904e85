package terminal

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// The messages of a viewer. Each begins with one of these bytes.
const (
	// messageInput is followed by a uint32 length and as many bytes.
	messageInput = 0x00
	// messageResize is followed by columns and rows, a uint16 each.
	messageResize = 0x01
)

// MaxInput is the longest input message; a viewer that sends a longer one is
// disconnected.
const MaxInput = 1 << 20

// viewer is one connection that watches and types.
type viewer struct {
	terminal *Terminal
	conn     net.Conn
	// at is the offset of what the viewer gets next, under the terminal's lock.
	at int64
	// gone is closed when the viewer is disconnected.
	gone chan struct{}
}

// leave disconnects the viewer.
func (v *viewer) leave() {
	v.terminal.mu.Lock()
	defer v.terminal.mu.Unlock()
	v.terminal.drop(v)
}

// showOutput sends the replay and then all output as it comes.
func (v *viewer) showOutput() {
	defer v.leave()
	// Small writes, so that one who reads slowly is seen to read.
	buffer := make([]byte, pieceSize)
	for {
		n := v.next(buffer)
		if n == 0 {
			return
		}
		if _, err := v.conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// next waits for output and takes it. It gives 0 when there will be no more.
func (v *viewer) next(buffer []byte) int {
	t := v.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if _, attached := t.viewers[v]; !attached {
			return 0
		}
		if n := t.history.read(v.at, buffer); n > 0 {
			v.at += int64(n)
			t.room.Broadcast()
			return n
		}
		if t.closed {
			return 0
		}
		t.output.Wait()
	}
}

// takeInput carries out what the viewer says until it stops making sense.
func (v *viewer) takeInput() {
	defer v.leave()
	reader := bufio.NewReaderSize(v.conn, pieceSize)
	for {
		if err := v.takeMessage(reader); err != nil {
			return
		}
	}
}

func (v *viewer) takeMessage(reader *bufio.Reader) error {
	kind, err := reader.ReadByte()
	if err != nil {
		return err
	}
	if kind != messageInput && kind != messageResize {
		return fmt.Errorf("unknown message %#x", kind)
	}
	var field [4]byte
	if _, err := io.ReadFull(reader, field[:]); err != nil {
		return err
	}
	if kind == messageInput {
		return v.typeIn(reader, binary.BigEndian.Uint32(field[:]))
	}
	columns, rows := binary.BigEndian.Uint16(field[:2]), binary.BigEndian.Uint16(field[2:])
	if columns == 0 || rows == 0 {
		return fmt.Errorf("a window of %d columns and %d rows", columns, rows)
	}
	return v.terminal.device.Resize(columns, rows)
}

// typeIn hands a message's bytes on as they come, in pieces, so that a long
// message needs no memory of its length.
func (v *viewer) typeIn(reader *bufio.Reader, length uint32) error {
	if length > MaxInput {
		return fmt.Errorf("input of %d bytes", length)
	}
	for length > 0 {
		piece := make([]byte, min(length, pieceSize))
		if _, err := io.ReadFull(reader, piece); err != nil {
			return err
		}
		length -= uint32(len(piece))
		if err := v.offer(piece); err != nil {
			return err
		}
	}
	return nil
}

func (v *viewer) offer(piece []byte) error {
	select {
	case v.terminal.inputs <- piece:
		return nil
	default:
	}
	late := time.NewTimer(v.terminal.options.InputPatience)
	defer late.Stop()
	select {
	case v.terminal.inputs <- piece:
		return nil
	case <-v.gone:
	case <-v.terminal.closing:
	case <-late.C:
	}
	return net.ErrClosed
}
