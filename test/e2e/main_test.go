// Package e2e drives the real binary from outside: over HTTP, over the agents'
// protocol, and with a real browser.
package e2e

import (
	"os"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
