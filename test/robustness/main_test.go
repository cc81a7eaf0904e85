// Package robustness kills the real program at bad moments and checks what it
// makes of that.
package robustness

import (
	"flag"
	"os"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

// atOnce is how many faults are tried at once, however few processors there
// are: most of the time they wait.
const atOnce = "6"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil { // the command line wins
		panic(err)
	}
	os.Exit(program.Main(m))
}
