package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

const (
	rounds = 6
	// launches of one round, all at once.
	launches = 6
	// killWithin is later than the last launch is answered, so that some kills
	// find everything started.
	killWithin = 600 * time.Millisecond
)

// Whatever moment the power fails at: each session that was accepted runs or
// has failed with a reason, once, and stopping it leaves nothing.
func TestKillDuringLaunch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	moments := rand.New(rand.NewPCG(seed, 0))
	dataDir := filepath.Join(t.TempDir(), "data")
	up := program.StartUp(t, dataDir, "")
	for round := range rounds {
		moment := time.Duration(moments.Int64N(int64(killWithin)))
		accepted := launchAndKill(t, up, round, moment)
		up = program.StartUp(t, dataDir, up.Listen)
		t.Logf("round %d: killed after %v, %d of %d launches accepted", round, moment, len(accepted), launches)
		settle(t, up, accepted)
	}
	up.Stop()
}

// launchAndKill gives the ids of the launches that were answered with success
// before the program died.
func launchAndKill(t *testing.T, up *program.Up, round int, moment time.Duration) []string {
	t.Helper()
	api := up.API()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	var accepted []string
	var launching sync.WaitGroup
	for i := range launches {
		launching.Go(func() {
			template := "terminal"
			if i%3 == 0 {
				template = "desktop"
			}
			session, err := api.Launch(ctx, client.LaunchRequest{ID: fmt.Sprintf("round%d-launch%d", round, i), Template: template})
			if err == nil {
				mu.Lock()
				accepted = append(accepted, session.ID)
				mu.Unlock()
			}
		})
	}
	<-time.After(moment) // the fault's moment, not a wait for anything
	up.Kill()
	cancel()
	launching.Wait()
	return accepted
}

// settle checks the sessions after the restart, then stops them all.
func settle(t *testing.T, up *program.Up, accepted []string) {
	t.Helper()
	api := up.API()
	for _, id := range accepted {
		if _, err := api.Session(program.Limit(t), id); err != nil {
			t.Fatalf("session %s was accepted and is lost: %v", id, err)
		}
	}
	// Those whose answer was lost count too, if they were written.
	list, err := api.Sessions(program.Limit(t), client.SessionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range list.Items {
		if known.State.Terminal() {
			continue
		}
		program.Eventually(t, "session "+known.ID+" runs or has failed", 60*time.Second, func() error {
			session, err := api.Session(program.Limit(t), known.ID)
			switch {
			case err != nil:
				return err
			case session.State == models.SessionFailed && session.Reason == "":
				return fmt.Errorf("it failed without a reason")
			case session.State != models.SessionRunning && session.State != models.SessionFailed:
				return fmt.Errorf("it is %s: %s", session.State, session.Reason)
			}
			known = session
			return nil
		})
		once(t, up, known)
	}
	for _, known := range list.Items {
		if _, err := api.Stop(program.Limit(t), known.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, known := range list.Items {
		program.Eventually(t, "session "+known.ID+" is gone", 30*time.Second, func() error {
			if left := program.ProcessesOf(t, known.ID); len(left) > 0 {
				return fmt.Errorf("processes are left:\n%s", program.Describe(left))
			}
			if left := program.Paths(t, filepath.Join(up.DataDir, "agent"), known.ID); len(left) > 0 {
				return fmt.Errorf("files are left: %s", strings.Join(left, ", "))
			}
			session, err := api.Session(program.Limit(t), known.ID)
			if err == nil && !session.State.Terminal() {
				err = fmt.Errorf("it is %s", session.State)
			}
			return err
		})
	}
}

// once checks that a session that runs does so exactly once, and that one that
// failed does not run at all.
func once(t *testing.T, up *program.Up, session models.Session) {
	t.Helper()
	want := 1
	if session.State == models.SessionFailed {
		want = 0
	}
	program.Eventually(t, fmt.Sprintf("session %s, %s, runs %d times", session.ID, session.State, want), 30*time.Second, func() error {
		supervisors := 0
		tree := program.ProcessesOf(t, session.ID)
		for _, pid := range tree {
			if strings.Contains(program.Describe([]int{pid}), " supervise ") {
				supervisors++
			}
		}
		if supervisors != want {
			return fmt.Errorf("there are %d:\n%s", supervisors, program.Describe(tree))
		}
		return nil
	})
}
