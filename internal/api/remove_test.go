package api_test

import (
	"net/http"
	"testing"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func TestAnAgentIsRemovedWithItsKeys(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	w.run("ann", "one")
	const path = "/api/v1/agents/laptop"
	w.delete(path, w.as("ann")).want(http.StatusForbidden)
	w.delete(path+"?force=true", w.as("root")).problem(http.StatusConflict, models.CodeAgentConnected)
	agent.disconnect()
	w.delete(path, w.as("root")).problem(http.StatusConflict, models.CodeAgentInUse)
	var removed api.Removed
	w.delete(path+"?force=true", w.as("root")).want(http.StatusOK).into(&removed)
	if len(removed.Sessions) != 1 || removed.Sessions[0].State != models.SessionFailed || removed.Sessions[0].ReasonCode != models.CodeAgentUnavailable {
		t.Errorf("it leaves %+v", removed)
	}
	w.delete(path, w.as("root")).problem(http.StatusNotFound, models.CodeAgentUnknown)
	register := func(key string) *answer {
		return w.post(wire.RegisterPath, header(wire.HeaderAgentKey, key), jsonBody(`{"agentId":"laptop","platform":"process"}`))
	}
	register(agent.key).problem(http.StatusUnauthorized, models.CodeUnauthenticated)
	register(w.agentKey("laptop")).want(http.StatusCreated)
}

// An agent without sessions may be removed while it is connected, and is not any
// more.
func TestAConnectedAgentThatIsRemovedIsCutOff(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	w.delete("/api/v1/agents/laptop", w.as("root")).want(http.StatusOK)
	agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
	w.eventually("the connection ends", func() error {
		if w.hub.IsAgentConnected("laptop") {
			return errNotYet
		}
		return nil
	})
}
