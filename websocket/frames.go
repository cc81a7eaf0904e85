package websocket

import (
	"context"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// receive handles one frame: the connection's own business here, the rest by
// whoever attached for it.
func (h *AgentHub) receive(ctx context.Context, c *connection, message wire.Envelope) error {
	switch message.Type {
	case wire.TypeHeartbeat:
		return h.heartbeat(c, message)
	case wire.TypeFacilities:
		return h.facilities(ctx, c, message)
	case wire.TypeImages:
		return h.images(ctx, c, message)
	case wire.TypePong:
		return nil
	}
	handler, known := h.byType[message.Type]
	if !known {
		return models.Errorf(models.CodeMessageUnknown,
			"message type %q is not known; the message was ignored", message.Type)
	}
	return handler.AgentMessage(ctx, c.peer, message)
}

func (h *AgentHub) facilities(ctx context.Context, c *connection, message wire.Envelope) error {
	var facilities wire.Facilities
	if err := message.Into(&facilities); err != nil {
		return err
	}
	present := facilities.Present
	if present == nil {
		present = []string{} // said that it has none, which is not the same as never said
	}
	current, err := h.database.SetFacilities(ctx, c.peer.AgentID, c.peer.Epoch, present, h.options.Now())
	return fenced(current, err)
}

// maxImages bounds the images that are kept of an agent.
const maxImages = 1000

func (h *AgentHub) images(ctx context.Context, c *connection, message wire.Envelope) error {
	var images wire.Images
	if err := message.Into(&images); err != nil {
		return err
	}
	names := images.Names[:min(len(images.Names), maxImages)]
	current, err := h.database.SetImages(ctx, c.peer.AgentID, c.peer.Epoch, names, h.options.Now())
	return fenced(current, err)
}

// fenced turns a guarded write that found a newer epoch into an error.
func fenced(current bool, err error) error {
	if err == nil && !current {
		return models.Errorf(models.CodeEpochStale, "a newer connection of this agent took over")
	}
	return err
}
