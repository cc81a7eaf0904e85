package source

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Greet reads the greeting of a new connection.
func Greet(conn io.Reader) error {
	var got [1]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil {
		return fmt.Errorf("wait for the session's first byte: %w", err)
	}
	if got[0] != greeting {
		return fmt.Errorf("the session's first byte is %q, not %q", got[0], greeting)
	}
	return nil
}

// Ask asks a flood for that many bytes.
func Ask(conn io.Writer, wanted uint64) error {
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, wanted)); err != nil {
		return fmt.Errorf("ask for bytes: %w", err)
	}
	return nil
}

// Take reads that many bytes of a flood.
func Take(conn io.Reader, wanted uint64) error {
	piece := make([]byte, 2*chunk)
	for wanted > 0 {
		n, err := conn.Read(piece[:min(wanted, uint64(len(piece)))])
		wanted -= uint64(n)
		if err != nil && wanted > 0 {
			return fmt.Errorf("read the session's bytes, with %d missing: %w", wanted, err)
		}
	}
	return nil
}

// Exchange sends a message to an echo and waits for all of its answer.
func Exchange(conn io.ReadWriter, message []byte) error {
	if _, err := conn.Write(message); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	answer := make([]byte, len(message))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	if !bytes.Equal(answer, message) {
		return fmt.Errorf("%q was answered with %q", message, answer)
	}
	return nil
}
