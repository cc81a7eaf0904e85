package drivertest

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
)

// viewer watches a terminal session and types into it.
type viewer struct {
	t    *testing.T
	conn net.Conn
	seen strings.Builder
	// said numbers what was asked; name tells it from what others have asked.
	said int
	name string
}

// view dials a terminal session.
func (b *bench) view(t *testing.T, ref driver.Ref) *viewer {
	t.Helper()
	conn, err := b.driver.Dial(limited(t), ref)
	if err != nil {
		t.Fatalf("dial %v: %v", ref, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return &viewer{t: t, conn: conn, name: rand.Text()[:8]}
}

func (v *viewer) close() { _ = v.conn.Close() }

// write types text.
func (v *viewer) write(text string) {
	v.t.Helper()
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
	if _, err := v.conn.Write(append(message, text...)); err != nil {
		v.t.Fatalf("type into the session: %v", err)
	}
}

// resize sets the size of the window.
func (v *viewer) resize(columns, rows uint16) {
	v.t.Helper()
	message := binary.BigEndian.AppendUint16([]byte{1}, columns)
	if _, err := v.conn.Write(binary.BigEndian.AppendUint16(message, rows)); err != nil {
		v.t.Fatalf("resize the session's window: %v", err)
	}
}

// until reads until the session has said text.
func (v *viewer) until(text string) {
	v.t.Helper()
	buffer := make([]byte, 32<<10)
	for !strings.Contains(v.seen.String(), text) {
		n, err := v.conn.Read(buffer)
		v.seen.Write(buffer[:n])
		if err != nil {
			v.t.Fatalf("the session did not say %q: %v; it said %q", text, err, v.seen.String())
		}
	}
}

// ask has the session's shell run a command and gives its output.
func (v *viewer) ask(command string) string {
	v.t.Helper()
	v.said++
	mark := fmt.Sprintf("%s-%d", v.name, v.said)
	begin, end := "<"+mark+"<", ">"+mark+">"
	// The echo of the command has none of them.
	v.write(fmt.Sprintf("echo '<'%s'<'; %s; echo '>'%s'>'\n", mark, command, mark))
	v.until(end)
	_, output, _ := strings.Cut(v.seen.String(), begin)
	output, _, _ = strings.Cut(output, end)
	return strings.TrimSpace(strings.ReplaceAll(output, "\r", ""))
}

// remember has the session's shell keep a word that no other shell knows.
func (v *viewer) remember(word string) {
	v.t.Helper()
	v.ask("word=" + word)
}

// wantWord checks that the shell is the one that was to remember the word, or
// with none a new one.
func (v *viewer) wantWord(word string) {
	v.t.Helper()
	if got := v.ask("echo [$word]"); got != "["+word+"]" {
		v.t.Errorf("the session's shell remembers %s, not [%s]", got, word)
	}
}

// isOver reads until the session has hung up.
func (v *viewer) isOver() {
	v.t.Helper()
	buffer := make([]byte, 32<<10)
	for {
		if _, err := v.conn.Read(buffer); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				v.t.Fatal("the stream goes on")
			}
			return
		}
	}
}

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

func lines(all []string) string { return strings.Join(all, "\n") }
