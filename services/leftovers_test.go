package services_test

import (
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// stopsFor reads so many commands, which must be stops, and gives their sessions.
func (a *agentSocket) stopsFor(count int, answered bool) (sessions []string) {
	a.t.Helper()
	for range count {
		command := a.command()
		if command.Action != models.ActionStopSession {
			a.t.Fatalf("the command is %+v", command)
		}
		if answered {
			a.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
		}
		sessions = append(sessions, (*command.Payload)["sessionId"].(string))
	}
	slices.Sort(sessions)
	return sessions
}

// An agent that does not tell what it runs is told to stop what was given up.
func TestAnAgentWithoutInventoryStopsWhatIsLeft(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world){
		"at once": func(*world) {},
		"after days, the sessions' rows gone": func(w *world) {
			w.clock.advance(30 * 24 * time.Hour)
			w.exec(`DELETE FROM agent_commands`)
			w.exec(`DELETE FROM sessions WHERE id <> 'homely'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				w := newWorld(t, database, services.DispatcherOptions{})
				w.start()
				w.disconnect(w.spread())
				w.reconcile()
				w.clock.advance(11 * time.Minute)
				w.awaitSession("plain", models.SessionFailed)
				w.awaitSession("roaming", models.SessionPending)
				meanwhile(w)

				agent := w.connect("a")
				if got := agent.stopsFor(2, false); !slices.Equal(got, []string{"plain", "roaming"}) {
					t.Fatalf("it is told to stop %v", got)
				}
				w.disconnect(agent)
				agent = w.connect("a") // they are sent again, and not written again
				if got := agent.stopsFor(2, true); !slices.Equal(got, []string{"plain", "roaming"}) {
					t.Fatalf("it is told to stop %v", got)
				}
				w.await("both have ended", func() bool {
					for _, id := range []string{"plain", "roaming"} {
						if open, err := database.HasUnfinishedCommand(t.Context(), id); err != nil || open {
							return false
						}
					}
					return true
				})
				w.disconnect(agent)
				w.connect("a")
				w.await("nothing is left", func() bool {
					has, err := database.HasLeftovers(t.Context(), "a")
					return err == nil && !has
				})
				if session := w.session("homely"); session.State != models.SessionRunning {
					t.Errorf("what keeps its home is %s", session.State)
				}
			})
		})
	}
}

// A start whose deadline passed may have happened.
func TestAnAgentWithoutInventoryStopsWhatItStartedTooLate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		agent.command()
		w.disconnect(agent)
		w.clock.advance(services.DefaultCommandDeadline + time.Minute)
		w.awaitSession("one", models.SessionFailed)
		if got := w.connect("a").stopsFor(1, true); got[0] != "one" {
			t.Errorf("it is told to stop %v", got)
		}
	})
}

// The inventory of an agent that has one tells.
func TestAnAgentWithAnInventoryNeedsNoStops(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.disconnect(w.spread())
		w.reconcile()
		w.clock.advance(11 * time.Minute)
		w.awaitSession("plain", models.SessionFailed)
		if has, err := database.HasLeftovers(t.Context(), "a"); err != nil || !has {
			t.Fatalf("nothing is left (%v)", err)
		}
		agent := w.negotiate("a")
		if verdicts := agent.lists(runs("plain", 1)); verdicts[0] != "stop" {
			t.Errorf("it is told to %v", verdicts)
		}
		if has, err := database.HasLeftovers(t.Context(), "a"); err != nil || has {
			t.Errorf("something is left (%v)", err)
		}
		for _, command := range w.sessionCommands("plain") {
			if command.Action == models.ActionStopSession {
				t.Errorf("it is told so once more by %+v", command)
			}
		}
	})
}
