package xdisplay_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/agent/driver/process/internal/xdisplay"
)

func free(int) bool { return false }

func TestReservationsAreExclusive(t *testing.T) {
	mine := map[int]bool{}
	for range 50 {
		reservation, err := xdisplay.Reserve(free)
		if err != nil {
			t.Fatal(err)
		}
		defer reservation.Release()
		if mine[reservation.Number] {
			t.Errorf("display %d was given twice", reservation.Number)
		}
		mine[reservation.Number] = true
	}
	// One that is reserved, or busy, is passed over.
	var number int
	var before []int
	reservation, err := xdisplay.Reserve(func(n int) bool {
		before = append(before, n)
		return len(before) < 3
	})
	if err != nil {
		t.Fatal(err)
	}
	number = reservation.Number
	if number != before[2] {
		t.Errorf("tried %v and took %d", before, number)
	}
	// Clients that try the abstract name first are refused there and go on.
	if conn, err := net.Dial("unix", "@"+xdisplay.SocketPath("/tmp", number)); err == nil {
		_ = conn.Close()
		t.Error("somebody answers in the display's name")
	}
	reservation.Release()
	other, err := net.Listen("unix", "@"+xdisplay.SocketPath("/tmp", number))
	if err != nil {
		t.Errorf("a number that was given back cannot be had: %v", err)
	} else {
		_ = other.Close()
	}
}

func TestNoDisplayFree(t *testing.T) {
	if reservation, err := xdisplay.Reserve(func(int) bool { return true }); err == nil {
		t.Errorf("display %d was given although all are busy", reservation.Number)
	}
}

// put makes the files of a display whose server has the process id pid.
func put(t *testing.T, tmp string, number, pid int) (lock, socket string) {
	t.Helper()
	if err := xdisplay.MakeSocketDir(tmp); err != nil {
		t.Fatal(err)
	}
	lock, socket = filepath.Join(tmp, ".X"+strconv.Itoa(number)+"-lock"), xdisplay.SocketPath(tmp, number)
	for path, content := range map[string]string{lock: strings.Repeat(" ", 10-len(strconv.Itoa(pid))) + strconv.Itoa(pid) + "\n", socket: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return lock, socket
}

func TestFilesOfADeadServerAreRemoved(t *testing.T) {
	tmp := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	put(t, tmp, 7, dead.Process.Pid)
	if !xdisplay.InUse(tmp, 7) || xdisplay.InUse(tmp, 8) {
		t.Error("what is in use is not seen")
	}
	for range 2 {
		if err := xdisplay.RemoveFiles(tmp, 7); err != nil {
			t.Fatal(err)
		}
		if xdisplay.InUse(tmp, 7) {
			t.Error("files are left")
		}
	}
	info, err := os.Stat(filepath.Join(tmp, ".X11-unix"))
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("the directory for all users' displays is %v, %v", info.Mode(), err)
	}
}

func TestFilesOfAZombieAreRemoved(t *testing.T) {
	tmp := t.TempDir()
	zombie := exec.Command("sleep", "1000")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	put(t, tmp, 7, zombie.Process.Pid)
	if err := xdisplay.RemoveFiles(tmp, 7); err != nil {
		t.Fatal(err)
	}
	if !xdisplay.InUse(tmp, 7) {
		t.Error("the files of a server that lives are removed")
	}
	if err := zombie.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for xdisplay.InUse(tmp, 7) {
		if err := xdisplay.RemoveFiles(tmp, 7); err != nil {
			t.Fatal(err)
		}
		if t.Context().Err() != nil {
			t.Fatal("the files of a zombie stay")
		}
	}
	_ = zombie.Wait() // it was killed
}

func TestXauthority(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	for _, path := range []string{one, two} {
		if err := xdisplay.WriteXauthority(path); err != nil {
			t.Fatal(err)
		}
	}
	first, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, second) {
		t.Error("two cookies are the same")
	}
	if info, err := os.Stat(one); err != nil || info.Mode() != 0o600 {
		t.Errorf("others may read the cookie: %v, %v", info.Mode(), err)
	}
	if _, err := exec.LookPath("xauth"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("xauth is not installed; run scripts/install-deps")
		}
		t.Skip("SKIPPED: there is no xauth to read the file")
	}
	list, err := exec.Command("xauth", "-f", one, "list").CombinedOutput()
	if err != nil || !strings.Contains(string(list), "MIT-MAGIC-COOKIE-1") || len(strings.Fields(string(list))) != 3 {
		t.Errorf("xauth reads %q, %v", list, err)
	}
}
