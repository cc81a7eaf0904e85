// Package rfb is as much of a viewer of remote screens (RFC 6143) as it takes
// to get a first picture.
package rfb

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The messages of RFC 6143, sections 7.1 to 7.6, that a first picture needs.
const (
	version = "RFB 003.008\n"

	securityNone = 1
	shared       = 1

	updateRequest = 3

	framebufferUpdate = 0
	bell              = 2
	serverCutText     = 3
)

// FirstUpdate opens a shared view of a screen that asks for no password,
// requests all of it, and returns once the first rectangle of the answer has
// begun. What follows on the connection is left unread.
func FirstUpdate(conn io.ReadWriter) error {
	if err := shake(conn); err != nil {
		return fmt.Errorf("RFB handshake: %w", err)
	}
	width, height, err := initialise(conn)
	if err != nil {
		return fmt.Errorf("RFB initialisation: %w", err)
	}
	request := []byte{updateRequest, 0, 0, 0, 0, 0} // not incremental, from the corner
	request = binary.BigEndian.AppendUint16(request, width)
	request = binary.BigEndian.AppendUint16(request, height)
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("request the framebuffer: %w", err)
	}
	if err := firstRectangle(conn); err != nil {
		return fmt.Errorf("wait for the framebuffer: %w", err)
	}
	return nil
}

// shake agrees on version 3.8 and on no authentication.
func shake(conn io.ReadWriter) error {
	offered, err := read(conn, len(version))
	if err != nil {
		return err
	}
	if string(offered) != version {
		return fmt.Errorf("the server speaks %q", offered)
	}
	if _, err := io.WriteString(conn, version); err != nil {
		return err
	}
	count, err := read(conn, 1)
	if err != nil {
		return err
	}
	types, err := read(conn, int(count[0]))
	if err != nil {
		return err
	}
	// A server that wants a password closes upon this choice or answers non-zero.
	if _, err := conn.Write([]byte{securityNone}); err != nil {
		return err
	}
	result, err := read(conn, 4)
	if err != nil {
		return fmt.Errorf("no authentication, of the types %v: %w", types, err)
	}
	if binary.BigEndian.Uint32(result) != 0 {
		return fmt.Errorf("the server refuses to go without authentication; its types are %v", types)
	}
	return nil
}

// initialise gives the screen's size.
func initialise(conn io.ReadWriter) (width, height uint16, err error) {
	if _, err := conn.Write([]byte{shared}); err != nil {
		return 0, 0, err
	}
	const pixelFormat = 16
	screen, err := read(conn, 4+pixelFormat+4)
	if err != nil {
		return 0, 0, err
	}
	if err := skip(conn, binary.BigEndian.Uint32(screen[4+pixelFormat:])); err != nil {
		return 0, 0, err
	}
	return binary.BigEndian.Uint16(screen), binary.BigEndian.Uint16(screen[2:]), nil
}

// firstRectangle passes over other messages, which may come at any time.
func firstRectangle(conn io.Reader) error {
	for {
		kind, err := read(conn, 1)
		if err != nil {
			return err
		}
		switch kind[0] {
		case framebufferUpdate:
			header, err := read(conn, 3)
			if err != nil {
				return err
			}
			if binary.BigEndian.Uint16(header[1:]) == 0 {
				continue // an update of no rectangle
			}
			const rectangle = 12
			_, err = read(conn, rectangle+1) // and the first byte inside
			return err
		case bell:
		case serverCutText:
			header, err := read(conn, 7)
			if err != nil {
				return err
			}
			if err := skip(conn, binary.BigEndian.Uint32(header[3:])); err != nil {
				return err
			}
		default:
			return fmt.Errorf("message %d was not expected", kind[0])
		}
	}
}

func read(conn io.Reader, n int) ([]byte, error) {
	content := make([]byte, n)
	_, err := io.ReadFull(conn, content)
	return content, err
}

func skip(conn io.Reader, n uint32) error {
	_, err := io.CopyN(io.Discard, conn, int64(n))
	return err
}
