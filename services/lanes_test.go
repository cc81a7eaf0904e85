package services

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

func TestALaneIsWithOneWorkerWhoHearsWhatComesMeanwhile(t *testing.T) {
	l := newLanes()
	lane := db.Lane{AgentID: "a", SessionID: "s"}
	plain, again := hint{lane: lane}, hint{lane: lane, again: "c1"}
	if !l.claim(plain) {
		t.Fatal("a free lane could not be claimed")
	}
	if !l.claim(hint{lane: db.Lane{AgentID: "a", SessionID: "other"}}) {
		t.Fatal("another lane could not be claimed")
	}
	for range 100 {
		if l.claim(plain) || l.claim(again) {
			t.Fatal("a claimed lane was claimed")
		}
	}
	var heard []hint
	for next, more := l.release(lane); more; next, more = l.release(lane) {
		heard = append(heard, next)
	}
	if !slices.Equal(heard, []hint{plain, again}) {
		t.Errorf("meanwhile came %+v", heard)
	}
	if !l.claim(again) {
		t.Error("a released lane could not be claimed")
	}
}

// An agent may answer between the sending of a command and the mark of it.
func TestAnAnswerWaitsForTheMarkOfItsCommand(t *testing.T) {
	for _, kind := range []wire.Type{wire.TypeAck, wire.TypeComplete, wire.TypeFailed} {
		t.Run(string(kind), func(t *testing.T) {
			database := dbtest.SQLite(t, db.Options{})
			now := time.Now()
			d := NewCommandDispatcher(database, websocket.NewAgentHub(database))
			if _, _, err := database.RegisterAgent(t.Context(), models.Agent{ID: "a", Platform: "process"}, now); err != nil {
				t.Fatal(err)
			}
			epoch, err := database.ConnectAgent(t.Context(), "a", now)
			if err != nil {
				t.Fatal(err)
			}
			if err := database.CreateCommand(t.Context(), &models.AgentCommand{CommandID: "c", AgentID: "a", Action: "x"}, now); err != nil {
				t.Fatal(err)
			}
			landed := d.flights.begin("c") // as a worker does before it sends
			answered := make(chan error, 1)
			go func() {
				answered <- d.AgentMessage(t.Context(), websocket.Peer{AgentID: "a", Epoch: epoch},
					wire.Envelope{Type: kind, Payload: []byte(`{"commandId":"c"}`)})
			}()
			awaitStack(t, "services.(*flights).wait(", answered)
			if _, err := database.MarkSent(t.Context(), "c", "a", epoch, now); err != nil {
				t.Fatal(err)
			}
			landed()
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
			if row, err := database.Command(t.Context(), "c"); err != nil || row.Attempts != 1 || row.SentAt == nil || row.Status == models.CommandSent {
				t.Errorf("the command is %+v, %v", row, err)
			}
		})
	}
}

// awaitStack returns when some goroutine is in the function, or fails when the
// answer came first.
func awaitStack(t *testing.T, function string, answered <-chan error) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		select {
		case err := <-answered:
			t.Fatalf("answered before the mark: %v", err)
		default:
		}
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(function)) {
			return
		}
	}
	t.Fatal("nobody waits")
}
