package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/agent/driver/terminal"
)

// The window before the first viewer has said how large its own is.
const (
	firstColumns = 80
	firstRows    = 24
)

// pseudoterminal is the master side of a pty(7).
type pseudoterminal struct{ *os.File }

// openPseudoterminal gives both sides. The master never blocks a thread, and
// closing it ends reads and writes under way.
func openPseudoterminal() (master *pseudoterminal, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	master = &pseudoterminal{os.NewFile(uintptr(fd), "/dev/ptmx")}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = master.Resize(firstColumns, firstRows)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	return master, slave, nil
}

// Resize implements terminal.Device.
func (p *pseudoterminal) Resize(columns, rows uint16) error {
	raw, err := p.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	})
	return errors.Join(err, set)
}

// startTerminal runs the template's program, or a login shell, in a terminal.
func (s *supervisor) startTerminal() *runtimedir.Problem {
	path, arguments := s.assignment.Shell, []string{"-" + filepath.Base(s.assignment.Shell)}
	if len(s.assignment.Command) > 0 {
		found, err := s.find(s.assignment.Command[0])
		if err != nil {
			return cannotRun(s.assignment.Command[0], err)
		}
		path, arguments = found, s.assignment.Command
	}
	master, slave, err := openPseudoterminal()
	if err != nil {
		return unavailable("open a terminal", err)
	}
	s.pty = master
	defer func() { _ = slave.Close() }()
	// Programs such as tmux open the terminal again by its name.
	if err := s.own(slave.Name()); err != nil {
		return unavailable("open a terminal", err)
	}
	attributes := s.attributes()
	attributes.Setctty = true
	s.program, err = s.run(path, arguments, &syscall.ProcAttr{
		Dir:   s.places.home,
		Files: []uintptr{slave.Fd(), slave.Fd(), slave.Fd()},
		Sys:   attributes,
	})
	if err != nil {
		return cannotRun(path, err)
	}
	listener, err := net.Listen("unix", runtimedir.TerminalSocket)
	if err != nil {
		return unavailable("serve the terminal", err)
	}
	if err := os.Chmod(runtimedir.TerminalSocket, 0o600); err != nil {
		return unavailable("serve the terminal", err)
	}
	s.terminal, s.shown = terminal.New(master, terminal.Options{}), make(chan struct{})
	go func() {
		defer close(s.shown)
		s.terminal.Run()
	}()
	go s.terminal.Serve(listener)
	return nil
}
