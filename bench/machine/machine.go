// Package machine tells what a benchmark ran on: enough to judge its figures
// by, and nothing that names the machine.
package machine

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// versionWithin bounds the question after one program's version.
	versionWithin = 10 * time.Second
	unknown       = "unknown"
)

// Fact is one property of the machine.
type Fact struct{ Name, Value string }

// Program is a program whose version matters.
type Program struct {
	// Name is what the fact is called.
	Name string
	// Command makes the program, or the package manager, tell the version.
	Command []string
	// Mark is in the line of the answer that counts; empty takes the first.
	Mark string
}

// Facts describes this machine and the programs. What cannot be found out is
// "unknown".
func Facts(ctx context.Context, programs ...Program) []Fact {
	facts := []Fact{
		{"processor", field("/proc/cpuinfo", "model name", ":")},
		{"cores", strconv.Itoa(runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal", ":")},
		{"system", strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)},
		{"kernel", kernel()},
		{"load", load()},
		{"tcp", first("/proc/sys/net/ipv4/tcp_congestion_control")},
		{"go", runtime.Version()},
	}
	for _, program := range programs {
		facts = append(facts, Fact{program.Name, version(ctx, program)})
	}
	return facts
}

// field finds the first line of the file that has the name before the
// separator.
func field(path, name, separator string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(content)) {
		if key, value, found := strings.Cut(line, separator); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}

// kernel leaves out the host's name, which uname also has.
func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return unknown
	}
	return unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:]) + " " +
		unix.ByteSliceToString(name.Machine[:])
}

// first is the first line of a file.
func first(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}

// load is the average number of runnable processes over 1, 5 and 15 minutes:
// above zero before a run, others were at work too.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return unknown
	}
	averages := strings.Fields(string(content))
	return strings.Join(averages[:min(3, len(averages))], " ")
}

func version(ctx context.Context, program Program) string {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	// Some programs tell their version and fail for the lack of anything to do.
	said, _ := exec.CommandContext(ctx, program.Command[0], program.Command[1:]...).CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if line = strings.TrimSpace(line); line != "" && strings.Contains(line, program.Mark) {
			return line
		}
	}
	return unknown
}
