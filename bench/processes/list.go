package processes

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Running is a process of this machine.
type Running struct {
	PID            int
	UID            uint32
	Arguments, Env []string
	// Dir is the working directory.
	Dir string
}

// List gives the processes of this machine. What cannot be read of one, as it
// ended meanwhile or is another user's, is empty.
func List() []Running {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	var all []Running
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		one := Running{PID: pid, Arguments: texts(filepath.Join(entry, "cmdline")), Env: texts(filepath.Join(entry, "environ"))}
		one.Dir, _ = os.Readlink(filepath.Join(entry, "cwd"))
		if info, err := os.Stat(entry); err == nil {
			one.UID = info.Sys().(*syscall.Stat_t).Uid
		}
		all = append(all, one)
	}
	return all
}

// texts reads a list of texts that each end with NUL.
func texts(path string) []string {
	content, err := os.ReadFile(path)
	if err != nil || len(content) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
}

// Mentions tells whether the text is in the arguments, the environment or the
// working directory.
func (r Running) Mentions(text string) bool {
	for _, word := range append(append([]string{r.Dir}, r.Arguments...), r.Env...) {
		if strings.Contains(word, text) {
			return true
		}
	}
	return false
}
