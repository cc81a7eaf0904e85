package catalog_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/test/program"
)

// screen is a running Xvnc and a viewer's connection with it (RFC 6143).
type screen struct {
	t             *testing.T
	display       string
	connection    net.Conn
	reader        *bufio.Reader
	width, height int
}

// showScreen starts Xvnc without security, on a socket in dir.
func showScreen(t *testing.T, dir, geometry string) *screen {
	t.Helper()
	socket := filepath.Join(dir, "rfb")
	// Displays that somebody has are tried as well, and Xvnc then ends at once.
	for number := 300 + os.Getpid()%300; number < 700; number++ {
		s := &screen{t: t, display: ":" + strconv.Itoa(number)}
		server := exec.Command("Xvnc", s.display, "-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath", socket,
			"-geometry", geometry, "-depth", "24", "-nolisten", "tcp", "-AlwaysShared")
		ended := run(t, server)
		if s.dial(socket, ended) {
			t.Cleanup(func() { _ = s.connection.Close() })
			s.handshake()
			return s
		}
	}
	t.Fatal("Xvnc starts on no display")
	return nil
}

// run starts a command as a group of its own, which ends with the test.
func run(t *testing.T, command *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := &program.Buffer{}
	command.Stdout, command.Stderr = log, log
	// What the command leaves running has its output open.
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = command.Wait() // however it ends
		close(done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // it may have ended
		<-done
		if t.Failed() {
			t.Logf("%s said:\n%s", command.Path, log)
		}
	})
	return done
}

// dial connects once the server is there, and gives up when it has ended.
func (s *screen) dial(socket string, ended <-chan struct{}) bool {
	for deadline := time.After(30 * time.Second); ; {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			s.connection, s.reader = connection, bufio.NewReader(connection)
			return true
		}
		select {
		case <-ended:
			return false
		case <-deadline:
			s.t.Fatalf("Xvnc does not answer: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *screen) handshake() {
	s.t.Helper()
	s.read(12) // the version, which is 3.8
	s.send([]byte("RFB 003.008\n"))
	s.read(int(s.read(1)[0])) // the kinds of security, of which none is one
	s.send([]byte{1})
	s.read(4)         // the result
	s.send([]byte{1}) // shared
	begin := s.read(24)
	s.width, s.height = int(binary.BigEndian.Uint16(begin)), int(binary.BigEndian.Uint16(begin[2:]))
	s.read(int(binary.BigEndian.Uint32(begin[20:]))) // the name
	// 32 bits a pixel, as 0x00RRGGBB, and raw.
	s.send([]byte{0, 0, 0, 0, 32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0})
	s.send([]byte{2, 0, 0, 1, 0, 0, 0, 0})
}

func (s *screen) read(count int) []byte {
	s.t.Helper()
	if err := s.connection.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	content := make([]byte, count)
	if _, err := io.ReadFull(s.reader, content); err != nil {
		s.t.Fatalf("read from Xvnc: %v", err)
	}
	return content
}

func (s *screen) send(content []byte) {
	s.t.Helper()
	if _, err := s.connection.Write(content); err != nil {
		s.t.Fatalf("write to Xvnc: %v", err)
	}
}

// click presses the first button at a point and lets it go.
func (s *screen) click(x, y int) {
	s.t.Helper()
	for _, buttons := range []byte{0, 1, 0} {
		s.send(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{5, buttons}, uint16(x)), uint16(y)))
	}
}

// keyEvery is how fast a person types at best. Programs that move the focus
// lose keys that come at once.
const keyEvery = 10 * time.Millisecond

// typeKeys presses the keys of ASCII text; a new line is Return.
func (s *screen) typeKeys(text string) {
	s.t.Helper()
	for _, key := range []byte(text) {
		symbol := uint32(key)
		if key == '\n' {
			symbol = 0xff0d
		}
		<-time.After(keyEvery)
		s.key(symbol, true)
		s.key(symbol, false)
	}
}

// controlKey is the symbol of the left one.
const controlKey = 0xffe3

// chord presses a key while another is held.
func (s *screen) chord(held, symbol uint32) {
	s.t.Helper()
	s.key(held, true)
	s.key(symbol, true)
	s.key(symbol, false)
	s.key(held, false)
	<-time.After(10 * keyEvery) // a hand needs longer than a finger
}

func (s *screen) key(symbol uint32, down bool) {
	s.t.Helper()
	message := []byte{4, 0, 0, 0}
	if down {
		message[1] = 1
	}
	s.send(binary.BigEndian.AppendUint32(message, symbol))
}

// colours counts the colours of the picture as it is now.
func (s *screen) colours() map[uint32]int {
	s.t.Helper()
	request := []byte{3, 0, 0, 0, 0, 0}
	request = binary.BigEndian.AppendUint16(request, uint16(s.width))
	s.send(binary.BigEndian.AppendUint16(request, uint16(s.height)))
	count := map[uint32]int{}
	for {
		switch kind := s.read(1)[0]; kind {
		case 0:
			for range binary.BigEndian.Uint16(s.read(3)[1:]) {
				box := s.read(12)
				size := int(binary.BigEndian.Uint16(box[4:])) * int(binary.BigEndian.Uint16(box[6:]))
				pixels := s.read(4 * size)
				for i := 0; i < len(pixels); i += 4 {
					count[binary.BigEndian.Uint32(pixels[i:])&0xffffff]++
				}
			}
			return count
		case 2: // a bell
		case 3: // the clipboard
			s.read(int(binary.BigEndian.Uint32(s.read(7)[3:])))
		default:
			s.t.Fatalf("Xvnc sends message %d, which this viewer did not ask for", kind)
		}
	}
}
