package rfb_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/bench/rfb"
)

// server is what a server says, and what it hears.
type server struct {
	io.Reader
	heard bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) { return s.heard.Write(p) }

const (
	greeting = "RFB 003.008\n\x02\x01\x10"
	accepted = "\x00\x00\x00\x00"
	// screen is one of 2x1 pixels of 4 bytes, named "name".
	screen = "\x00\x02\x00\x01" + "\x20123456789abcdef" + "\x00\x00\x00\x04name"
	// header is that of an update of one rectangle, raw and of the whole screen.
	header = "\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x02\x00\x01\x00\x00\x00\x00"
	blank  = header + "colrcolr"
	drawn  = header + "colrCOLR"
	// once asks for the whole screen, changes for what is new.
	once    = "\x03\x00\x00\x00\x00\x00\x00\x02\x00\x01"
	changes = "\x03\x01\x00\x00\x00\x00\x00\x02\x00\x01"
)

// view opens a view of a server that says all this.
func view(t *testing.T, said string) (*rfb.View, *server) {
	t.Helper()
	conn := &server{Reader: strings.NewReader(greeting + accepted + screen + said)}
	v, err := rfb.Open(conn)
	if err != nil {
		t.Fatal(err)
	}
	return v, conn
}

func TestFirstBytesAskForTheWholeScreen(t *testing.T) {
	v, conn := view(t, header+"c")
	if err := v.FirstBytes(); err != nil {
		t.Fatal(err)
	}
	if want := "RFB 003.008\n\x01\x01" + once; conn.heard.String() != want {
		t.Errorf("the server heard %q, want %q", conn.heard.String(), want)
	}
}

func TestFirstDrawingWaitsForASecondColor(t *testing.T) {
	v, conn := view(t, blank+blank+drawn)
	if err := v.FirstBytes(); err != nil {
		t.Fatal(err)
	}
	if err := v.FirstDrawing(); err != nil {
		t.Fatal(err)
	}
	if heard := conn.heard.String(); !strings.HasSuffix(heard, once+changes+changes) {
		t.Errorf("the server heard %q", heard)
	}
	v, _ = view(t, blank+blank)
	if err := errors.Join(v.FirstBytes(), v.FirstDrawing()); !errors.Is(err, io.EOF) {
		t.Errorf("a blank screen counts as drawn on: %v", err)
	}
}

func TestOtherMessagesMayComeFirst(t *testing.T) {
	v, _ := view(t, "\x02"+"\x03\x00\x00\x00\x00\x00\x00\x03abc"+drawn) // a bell and a clipboard
	if err := errors.Join(v.FirstBytes(), v.FirstDrawing()); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeViewed(t *testing.T) {
	for name, said := range map[string]string{
		"another version": "RFB 003.003\n",
		"a password":      greeting + "\x00\x00\x00\x01",
		"half a screen":   greeting + accepted + screen[:20],
	} {
		if _, err := rfb.Open(&server{Reader: strings.NewReader(said)}); err == nil {
			t.Errorf("%s is viewed", name)
		}
	}
	for name, said := range map[string]string{"an unknown message": "\xff", "a header alone": header} {
		if v, _ := view(t, said); v.FirstBytes() == nil {
			t.Errorf("%s is taken for a picture", name)
		}
	}
	v, _ := view(t, strings.Replace(drawn, "\x00colr", "\x05colr", 1))
	if err := errors.Join(v.FirstBytes(), v.FirstDrawing()); err == nil {
		t.Error("an encoding that nobody asked for is taken")
	}
}

func TestXvnc(t *testing.T) {
	path, err := exec.LookPath("Xvnc")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Xvnc is missing: apt-get install tigervnc-standalone-server")
		}
		t.Skip("SKIPPED: a real screen, as Xvnc is missing: apt-get install tigervnc-standalone-server")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "rfb.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	// A number that no session of this machine's would have.
	screen := exec.Command(path, ":7391", "-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath", socket,
		"-nolisten", "tcp", "-nolisten", "local", "-AlwaysShared")
	screen.Stdout, screen.Stderr = log, log
	if err := screen.Start(); err != nil {
		t.Fatal(err)
	}
	// An orderly end takes the display's files along.
	defer func() { _, _ = screen.Process.Signal(syscall.SIGTERM), screen.Wait() }()
	var conn net.Conn
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("Xvnc does not accept: %v\n%s", err, said)
		}
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	v, err := rfb.Open(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.FirstBytes(); err != nil {
		t.Fatal(err)
	}
	// Something draws on the blank screen.
	program, err := exec.LookPath("xterm")
	if err != nil {
		return
	}
	drawing := exec.Command(program, "-display", ":7391")
	if err := drawing.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = drawing.Process.Kill(), drawing.Wait() }()
	if err := v.FirstDrawing(); err != nil {
		t.Error(err)
	}
}
