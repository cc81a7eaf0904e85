package rfb_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	// screen is one of 640x480 named "name", with any pixel format.
	screen = "\x02\x80\x01\xe0" + "0123456789abcdef" + "\x00\x00\x00\x04name"
	update = "\x00\x00\x00\x01" + "\x00\x00\x00\x00\x02\x80\x01\xe0\x00\x00\x00\x00" + "p"
)

func TestFirstUpdateAsksForTheWholeScreen(t *testing.T) {
	left := "ixels"
	conn := &server{Reader: strings.NewReader(greeting + accepted + screen + update + left)}
	if err := rfb.FirstUpdate(conn); err != nil {
		t.Fatal(err)
	}
	if want := "RFB 003.008\n\x01\x01\x03\x00\x00\x00\x00\x00\x02\x80\x01\xe0"; conn.heard.String() != want {
		t.Errorf("the server heard %q, want %q", conn.heard.String(), want)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != left {
		t.Errorf("what is left is %q, %v", rest, err)
	}
}

func TestOtherMessagesMayComeFirst(t *testing.T) {
	const (
		cutText = "\x03\x00\x00\x00\x00\x00\x00\x03abc"
		bell    = "\x02"
		nothing = "\x00\x00\x00\x00"
	)
	conn := &server{Reader: strings.NewReader(greeting + accepted + screen + bell + cutText + nothing + update)}
	if err := rfb.FirstUpdate(conn); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoFirstUpdate(t *testing.T) {
	for name, said := range map[string]string{
		"another version":    "RFB 003.003\n",
		"a password":         greeting + "\x00\x00\x00\x01",
		"an unknown message": greeting + accepted + screen + "\xff",
		"a header alone":     greeting + accepted + screen + update[:len(update)-1],
	} {
		if err := rfb.FirstUpdate(&server{Reader: strings.NewReader(said)}); err == nil {
			t.Errorf("%s is taken for a picture", name)
		}
	}
}

func TestXvncGivesAFirstUpdate(t *testing.T) {
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
	defer func() { _, _ = screen.Process.Kill(), screen.Wait() }()
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
	if err := rfb.FirstUpdate(conn); err != nil {
		t.Error(err)
	}
}
