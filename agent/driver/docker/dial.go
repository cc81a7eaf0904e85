package docker

import (
	"context"
	"net"

	"github.com/moby/moby/api/types/container"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// Dial implements driver.Driver. Its errors are models.CodeSessionNotRunning for
// a runtime that is not there, and models.CodeTunnelFailed.
func (d *Driver) Dial(ctx context.Context, ref driver.Ref) (net.Conn, error) {
	found, err := d.inspect(ctx, d.containerName(ref))
	if err != nil && models.CodeOf(err) != models.CodeSessionNotRunning {
		return nil, &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err, Message: "the agent cannot reach its Docker engine; try again"}
	}
	if err != nil || found.Config.Labels[labelAgent] != d.config.AgentID || found.State.Status != container.StateRunning {
		return nil, models.Errorf(models.CodeSessionNotRunning, "the session %s does not run here any more; launch it again", ref.SessionID)
	}
	var conn net.Conn
	if models.Protocol(found.Config.Labels[labelProtocol]) == models.ProtocolTerminal {
		conn, err = d.joinTerminal(ctx, found.ID)
	} else {
		conn, err = dialPort(ctx, found)
	}
	if err != nil {
		return nil, &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err, Message: "the session's stream cannot be reached; try again"}
	}
	return conn, nil
}
