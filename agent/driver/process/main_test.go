package process_test

import (
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent/driver/process"
)

// TestMain makes the test binary its own supervisor, as the program's main
// function does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == process.SuperviseCommand {
		// Unlike os.Exit this does not make the race detector wait for a second.
		syscall.Exit(process.Supervise(os.Args[2:]))
	}
	if dir := os.Getenv(asAgent); dir != "" {
		agentProcess(dir)
		return
	}
	goleak.VerifyTestMain(m)
}
