package runtimedir

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/streamspace/streamspace/agent/driver"
)

// Name gives the name of a runtime's directory. Different runtimes have
// different names, and Parse turns a name back.
func Name(ref driver.Ref) string {
	return Escape(ref.SessionID) + "." + strconv.FormatInt(ref.Generation, 10)
}

// SpareName gives the name of the directory of what is made ready for a session
// that is not known yet. It is that of a runtime in generation 0, which no
// session has: what a dead agent leaves of it is found like any other runtime.
func SpareName() string { return Name(driver.Ref{SessionID: "spare-" + rand.Text()}) }

// Parse tells which runtime a name stands for, if it stands for any.
func Parse(name string) (ref driver.Ref, ok bool) {
	id, number, found := cutLast(name, ".")
	if !found || id == "" {
		return ref, false
	}
	generation, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return ref, false
	}
	sessionID, ok := unescape(id)
	ref = driver.Ref{SessionID: sessionID, Generation: generation}
	// Only the one spelling that Name gives is ours.
	return ref, ok && Name(ref) == name
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}

// Escape makes any text the name of a file: letters, digits, _, - and dots
// that are not first stay, every other byte becomes % and its two hex digits.
// Different texts have different names, and none is hidden.
func Escape(text string) string {
	var escaped strings.Builder
	for i := range len(text) {
		char := text[i]
		if plain(char) || char == '.' && i > 0 {
			escaped.WriteByte(char)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", char)
		}
	}
	return escaped.String()
}

func plain(char byte) bool {
	return char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' || char >= '0' && char <= '9' || char == '_' || char == '-'
}

func unescape(name string) (text string, ok bool) {
	var plain strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			plain.WriteByte(name[i])
			continue
		}
		if i+2 >= len(name) {
			return "", false
		}
		char, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		plain.WriteByte(byte(char))
		i += 2
	}
	return plain.String(), true
}

// Marks are settings in the environment of every program of a session, by
// which its processes are found when nothing else holds them together. dir is
// the runtime's directory: another agent on the same machine may run a session
// of the same name.
func Marks(sessionID, dir string) []string {
	return []string{"STREAMSPACE_SESSION=" + sessionID, "STREAMSPACE_RUNTIME=" + dir}
}

// GroupName is what the control group of the runtime in dir is called. Another
// agent on the same machine may run a session of the same name, so it holds
// more of the path than that.
func GroupName(dir string) string {
	name, hash := filepath.Base(dir), sha256.Sum256([]byte(dir))
	return fmt.Sprintf("streamspace-%s-%x", name[:min(len(name), 100)], hash[:8])
}

// HomeLock is the file whose lock is the right to use a persistent home.
func HomeLock(home string) string {
	return filepath.Join(filepath.Dir(home), "."+filepath.Base(home)+".lock")
}
