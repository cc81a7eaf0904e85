// Package xdisplay allocates the numbers of X displays and knows the files that
// come with one.
package xdisplay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
)

// The range of display numbers. Seats, forwarded displays of sshd (from 10 on)
// and test servers (99 by custom) are below it.
const (
	first = 100
	count = 30_000
)

// tries bounds the search for a free number.
const tries = 200

// Reservation is the right to a display number on this machine. It ends with
// its release or with the process.
//
// It is a socket that is bound to the display's name in the abstract namespace
// and does not listen. No other reservation can have the number then, and no
// program can pose as this display to clients: those try the abstract name
// first (libxcb does), are refused, and take the socket in /tmp/.X11-unix.
type Reservation struct {
	Number int
	socket int
}

// Reserve takes a free number at random, so that servers that start at once do
// not try the same ones. Those for which busy gives true are left out.
func Reserve(busy func(number int) bool) (*Reservation, error) {
	start, err := rand.Int(rand.Reader, big.NewInt(count))
	if err != nil {
		return nil, fmt.Errorf("choose a display: %w", err)
	}
	for i := range tries {
		number := first + (int(start.Int64())+i)%count
		if busy(number) {
			continue
		}
		reservation, err := reserve(number)
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reserve display %d: %w", number, err)
		}
		return reservation, nil
	}
	return nil, fmt.Errorf("no display is free: %d numbers were tried", tries)
}

func reserve(number int) (*Reservation, error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: "@" + SocketPath("/tmp", number)}); err != nil {
		_ = unix.Close(socket)
		return nil, err
	}
	return &Reservation{Number: number, socket: socket}, nil
}

// Release gives the number back.
func (r *Reservation) Release() { _ = unix.Close(r.socket) }

// SocketPath is where the server of a display listens, tmp being what it takes
// for /tmp.
func SocketPath(tmp string, number int) string {
	return filepath.Join(tmp, ".X11-unix", "X"+strconv.Itoa(number))
}

func lockPath(tmp string, number int) string {
	return filepath.Join(tmp, ".X"+strconv.Itoa(number)+"-lock")
}

// InUse tells whether a server has, or had, the display in tmp. A server takes
// over what a dead one left, but not knowing whose that is we leave it alone.
func InUse(tmp string, number int) bool {
	for _, path := range []string{lockPath(tmp, number), SocketPath(tmp, number)} {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

// MakeSocketDir makes the directory of SocketPath as X servers expect it: it
// is shared by all users of tmp. Servers that do not run as root complain when
// they have to make it.
func MakeSocketDir(tmp string) error {
	dir := filepath.Join(tmp, ".X11-unix")
	if err := os.Mkdir(dir, 0o777); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return fmt.Errorf("make the directory for displays: %w", err)
	}
	if err := os.Chmod(dir, os.ModeSticky|0o777); err != nil {
		return fmt.Errorf("make the directory for displays: %w", err)
	}
	return nil
}

// RemoveFiles removes what a dead server left of its display in tmp. Files of
// a server that lives stay: another one has the number then.
func RemoveFiles(tmp string, number int) error {
	content, err := os.ReadFile(lockPath(tmp, number))
	if err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err == nil && proctable.Lives(pid) {
			return nil
		}
	}
	// The lock is last: it keeps others away from the socket.
	for _, path := range []string{SocketPath(tmp, number), lockPath(tmp, number)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what the display left: %w", err)
		}
	}
	return nil
}

// WriteXauthority writes a file with one new MIT-MAGIC-COOKIE-1 that is good
// for every display (family 0xffff, FamilyWild; the format is that of
// XauWriteAuth(3): the family, then address, number, name and data, each with
// a uint16 length before it). Its owner alone may read it.
func WriteXauthority(path string) error {
	cookie := make([]byte, 16)
	if _, err := rand.Read(cookie); err != nil {
		return fmt.Errorf("make an X cookie: %w", err)
	}
	entry := binary.BigEndian.AppendUint16(nil, 0xffff)
	for _, field := range [][]byte{nil, nil, []byte("MIT-MAGIC-COOKIE-1"), cookie} {
		entry = binary.BigEndian.AppendUint16(entry, uint16(len(field)))
		entry = append(entry, field...)
	}
	if err := os.WriteFile(path, entry, 0o600); err != nil {
		return fmt.Errorf("write an X cookie: %w", err)
	}
	return nil
}
