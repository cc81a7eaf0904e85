// Package rfb is as much of a viewer of remote screens (RFC 6143) as it takes
// to see the first picture, and the first one that shows something.
package rfb

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// What RFC 6143 calls these, in its sections 7.1 to 7.7.
const (
	version = "RFB 003.008\n"

	securityNone = 1
	shared       = 1

	updateRequest = 3

	framebufferUpdate = 0
	bell              = 2
	serverCutText     = 3

	rawEncoding = 0
)

// View is a shared view of a screen that asks for no password. It is used by
// one goroutine.
type View struct {
	conn   io.Writer
	server *bufio.Reader
	// width and height are the screen's, in pixels of so many bytes.
	width, height uint16
	pixelBytes    int
	// color is that of the first pixel that was seen.
	color []byte
}

// Open begins a view.
func Open(conn io.ReadWriter) (*View, error) {
	v := &View{conn: conn, server: bufio.NewReaderSize(conn, 64<<10)}
	if err := v.shake(); err != nil {
		return nil, fmt.Errorf("RFB handshake: %w", err)
	}
	if err := v.initialise(); err != nil {
		return nil, fmt.Errorf("RFB initialisation: %w", err)
	}
	return v, nil
}

// FirstBytes requests the whole screen and returns once the first rectangle of
// the answer has begun.
func (v *View) FirstBytes() error {
	if err := v.request(false); err != nil {
		return err
	}
	if err := v.awaitUpdate(); err != nil {
		return fmt.Errorf("wait for a picture: %w", err)
	}
	// As much as a rectangle's header and its first byte.
	if _, err := v.server.Peek(2 + 12 + 1); err != nil {
		return fmt.Errorf("wait for a picture: %w", err)
	}
	return nil
}

// FirstDrawing returns once the screen has pixels of two colors, so that
// something is drawn on it. It comes after FirstBytes.
func (v *View) FirstDrawing() error {
	for {
		drawn, err := v.readUpdate()
		if err != nil {
			return fmt.Errorf("read a picture: %w", err)
		}
		if drawn {
			return nil
		}
		if err := v.request(true); err != nil {
			return err
		}
		if err := v.awaitUpdate(); err != nil {
			return fmt.Errorf("wait for a picture: %w", err)
		}
	}
}

// shake agrees on version 3.8 and on no authentication.
func (v *View) shake() error {
	offered, err := v.read(len(version))
	if err != nil {
		return err
	}
	if string(offered) != version {
		return fmt.Errorf("the server speaks %q", offered)
	}
	if _, err := io.WriteString(v.conn, version); err != nil {
		return err
	}
	count, err := v.read(1)
	if err != nil {
		return err
	}
	types, err := v.read(int(count[0]))
	if err != nil {
		return err
	}
	if _, err := v.conn.Write([]byte{securityNone}); err != nil {
		return err
	}
	// A server that wants a password answers non-zero, or hangs up.
	result, err := v.read(4)
	if err != nil || binary.BigEndian.Uint32(result) != 0 {
		return fmt.Errorf("the server does not go without authentication, its types are %v (%w)", types, err)
	}
	return nil
}

// initialise learns the screen's size and keeps the server's own pixels.
func (v *View) initialise() error {
	if _, err := v.conn.Write([]byte{shared}); err != nil {
		return err
	}
	const pixelFormat = 16
	screen, err := v.read(4 + pixelFormat + 4)
	if err != nil {
		return err
	}
	v.width, v.height = binary.BigEndian.Uint16(screen), binary.BigEndian.Uint16(screen[2:])
	v.pixelBytes = int(screen[4]) / 8
	return v.skip(binary.BigEndian.Uint32(screen[4+pixelFormat:])) // its name
}

// request asks for the screen, or for what changes on it.
func (v *View) request(changes bool) error {
	message := []byte{updateRequest, 0, 0, 0, 0, 0}
	if changes {
		message[1] = 1
	}
	message = binary.BigEndian.AppendUint16(message, v.width)
	message = binary.BigEndian.AppendUint16(message, v.height)
	if _, err := v.conn.Write(message); err != nil {
		return fmt.Errorf("request a picture: %w", err)
	}
	return nil
}

// awaitUpdate reads up to the number of an update's rectangles. Other messages
// may come at any time.
func (v *View) awaitUpdate() error {
	for {
		kind, err := v.read(1)
		if err != nil {
			return err
		}
		switch kind[0] {
		case framebufferUpdate:
			return v.skip(1)
		case bell:
		case serverCutText:
			header, err := v.read(7)
			if err != nil {
				return err
			}
			if err := v.skip(binary.BigEndian.Uint32(header[3:])); err != nil {
				return err
			}
		default:
			return fmt.Errorf("message %d was not expected", kind[0])
		}
	}
}

// readUpdate reads an update's rectangles, and tells whether any pixel's color
// differs from that of the first one of all.
func (v *View) readUpdate() (drawn bool, err error) {
	count, err := v.read(2)
	if err != nil {
		return false, err
	}
	for range binary.BigEndian.Uint16(count) {
		header, err := v.read(12)
		if err != nil {
			return false, err
		}
		if encoding := int32(binary.BigEndian.Uint32(header[8:])); encoding != rawEncoding {
			return false, fmt.Errorf("encoding %d was not asked for", encoding)
		}
		pixels := int(binary.BigEndian.Uint16(header[4:])) * int(binary.BigEndian.Uint16(header[6:]))
		for range pixels {
			pixel, err := v.server.Peek(v.pixelBytes)
			if err != nil {
				return false, err
			}
			if v.color == nil {
				v.color = append(v.color, pixel...)
			}
			drawn = drawn || string(pixel) != string(v.color)
			_, _ = v.server.Discard(v.pixelBytes) // they are there
		}
	}
	return drawn, nil
}

func (v *View) read(n int) ([]byte, error) {
	content := make([]byte, n)
	_, err := io.ReadFull(v.server, content)
	return content, err
}

func (v *View) skip(n uint32) error {
	_, err := io.CopyN(io.Discard, v.server, int64(n))
	return err
}
