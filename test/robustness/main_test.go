// Package robustness kills the real program at bad moments and checks what it
// makes of that.
package robustness

import (
	"os"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
