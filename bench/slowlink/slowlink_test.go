package slowlink_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/slowlink"
)

// serveAt makes the test's program a server that sends size bytes to whoever
// connects.
const (
	serveAt = "SLOWLINK_TEST_SERVE"
	size    = 1 << 20
	port    = "7000"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(serveAt); address != "" {
		fmt.Fprintln(os.Stderr, serve(address))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		_, _ = conn.Write(make([]byte, size))
		_ = conn.Close()
	}
}

// chainOfThree has a server in the middle.
func chainOfThree(t *testing.T) *slowlink.Chain {
	t.Helper()
	chain, err := slowlink.NewChain(t.Context(), 3)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: slow links, as this machine gives no network namespaces: %v", err)
	}
	t.Cleanup(func() {
		if err := chain.Close(); err != nil {
			t.Error(err)
		}
	})
	var owner processes.Owner
	t.Cleanup(func() {
		if err := owner.Stop(); err != nil {
			t.Error(err)
		}
	})
	server, err := owner.Start(chain.Places[1].In(processes.Command{Path: os.Args[0], Env: []string{serveAt + "=0.0.0.0:" + port}}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := server.Line(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	return chain
}

// fetch reads all that the server sends over a link, from the link's other end.
func fetch(t *testing.T, chain *slowlink.Chain, link, place int) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begun := time.Now()
	conn, err := chain.Places[place].DialContext(ctx, "tcp", net.JoinHostPort(chain.Address(link, 1), port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if n, err := io.Copy(io.Discard, conn); err != nil || n != size {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return time.Since(begun)
}

func TestShapedLinkIsSlow(t *testing.T) {
	chain := chainOfThree(t)
	// At 20 Mbit/s a MiB takes 420 ms.
	const atLeast = 300 * time.Millisecond
	fast := fetch(t, chain, 0, 0)
	if err := chain.Shape(t.Context(), 0, "20mbit", "64kb", "50ms"); err != nil {
		t.Fatal(err)
	}
	if took := fetch(t, chain, 0, 0); took < atLeast {
		t.Errorf("the slow link took %v, and %v before", took, fast)
	}
	if took := fetch(t, chain, 1, 2); took >= atLeast {
		t.Errorf("the other link took %v", took)
	}
	if err := chain.Unshape(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if took := fetch(t, chain, 0, 0); took >= atLeast {
		t.Errorf("the link that was slow took %v", took)
	}
}

func TestPlacesReachTheirNeighboursAlone(t *testing.T) {
	chain := chainOfThree(t)
	fetch(t, chain, 1, 2)
	if conn, err := chain.Places[2].DialContext(t.Context(), "tcp", net.JoinHostPort(chain.Address(0, 1), port)); err == nil {
		_ = conn.Close()
		t.Error("a place reaches over a link that it has no end of")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	chain := chainOfThree(t)
	ours := fmt.Sprintf("ssbench-%d-", os.Getpid())
	if said, err := exec.Command("ip", "netns", "list").Output(); err != nil || strings.Count(string(said), ours) != 3 {
		t.Fatalf("the places are %s, %v", said, err)
	}
	if err := chain.Close(); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("ip", "netns", "list").Output(); err != nil || strings.Contains(string(said), ours) {
		t.Errorf("what is left is %s, %v", said, err)
	}
}
