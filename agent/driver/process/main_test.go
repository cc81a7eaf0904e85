package process_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent/driver/process"
)

// TestMain makes the test binary its own supervisor, as the program's main
// function does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == process.SuperviseCommand {
		os.Exit(process.Supervise(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}
