package agent

import (
	"slices"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// receive handles one frame. It never waits for an effect. Types that are not
// known are ignored, so that the control plane may be newer.
func (a *Agent) receive(c *connection, message wire.Envelope) error {
	switch message.Type {
	case wire.TypeCommand:
		return a.command(message)
	case wire.TypePing:
		c.send(wire.TypePong, nil)
	case wire.TypeShutdown:
		c.shutdown = true // it closes the connection itself
	case wire.TypeWelcome:
		return a.welcome(c, message)
	case wire.TypeVerdict:
		return a.verdict(c, message)
	case wire.TypeOpenTunnel:
		return a.openTunnel(c, message)
	case wire.TypeError:
		var told wire.ErrorFrame
		if err := message.Into(&told); err != nil {
			return err
		}
		a.config.Logger.Warn("the control plane refused a frame", "code", told.Code, "message", told.Message)
	}
	return nil
}

// command takes a command, or says why it cannot be carried out. That needs no
// journal: whoever asks again gets the same answer.
func (a *Agent) command(message wire.Envelope) error {
	var command wire.Command
	err := message.Into(&command)
	if err != nil {
		var named wire.Ack // the id is enough to answer
		if message.Into(&named) != nil {
			return err
		}
		command.CommandID = named.CommandID
		err = models.Errorf(models.CodeInvalidRequest, "the command's payload is not a JSON object")
	}
	if err := checkCommandID(command.CommandID); err != nil {
		return err
	}
	var work task
	if err == nil {
		work, err = parse(command)
	}
	if err != nil {
		a.config.Logger.Warn("a command cannot be carried out", "command", command.CommandID, "action", command.Action, "error", err)
		a.executor.answer(command.CommandID, failure(err, command.Action))
		return nil
	}
	a.executor.take(&work)
	return nil
}

func (a *Agent) welcome(c *connection, message wire.Envelope) error {
	var welcome wire.Welcome
	if err := message.Into(&welcome); err != nil {
		return err
	}
	if c.welcomed {
		return nil
	}
	c.welcomed = true
	c.pingEvery = time.Duration(welcome.PingSeconds) * time.Second
	a.config.Logger.Info("connected to the control plane", "epoch", welcome.Epoch)
	every := time.Duration(welcome.HeartbeatSeconds) * time.Second
	if every <= 0 {
		every = wire.HeartbeatEvery
	}
	c.needs = welcome.Needs
	c.parts.Go(func() { a.beat(c, every) })
	c.parts.Go(func() { a.takeInventories(c, welcome.Needs) })
	c.parts.Go(func() { a.tellImages(c) })
	return nil
}

// verdict stops what the control plane does not want. Frames are handled in
// order there, so the answer also means that what was sent before the
// inventory has been handled.
func (a *Agent) verdict(c *connection, message wire.Envelope) error {
	var verdict wire.Verdict
	if err := message.Into(&verdict); err != nil {
		return err
	}
	a.exits.confirmed(c)
	a.becomeReady()
	if len(verdict.Needs) > 0 && !slices.Equal(verdict.Needs, c.needs) {
		c.needs = verdict.Needs
		c.look(verdict.Needs)
	}
	for _, item := range verdict.Items {
		if item.Verdict != wire.VerdictStop {
			continue
		}
		if err := checkSessionID(item.SessionID); err != nil {
			a.config.Logger.Warn("a verdict is dropped", "session", item.SessionID, "error", err)
			continue
		}
		ref := driver.Ref{SessionID: item.SessionID, Generation: item.Generation}
		a.config.Logger.Warn("the control plane does not want a session that runs here", "session", ref.SessionID, "generation", ref.Generation)
		a.executor.take(&task{action: models.ActionStopSession, ref: ref})
	}
	return nil
}

func (a *Agent) openTunnel(c *connection, message wire.Envelope) error {
	var wanted wire.OpenTunnel
	if err := message.Into(&wanted); err != nil {
		return err
	}
	a.tunnels.open(wanted, func(err error) {
		a.config.Logger.Warn("a tunnel failed", "session", wanted.SessionID, "tunnel", wanted.TunnelID, "error", err)
		if c.negotiated {
			c.send(wire.TypeTunnelFailed, wire.TunnelFailed{TunnelID: wanted.TunnelID, Error: publicMessage(err,
				"the agent could not reach the session's stream; its log has more")})
		}
	})
	return nil
}
