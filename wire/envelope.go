package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/streamspace/streamspace/models"
)

// MaxFrame is the largest frame that either side accepts, in bytes. A start
// command with its template is under 10 KiB; an inventory of 1,000 sessions is
// under 200 KiB.
const MaxFrame = 1 << 20

// Type names what a frame carries.
type Type string

// Frames to the agent.
const (
	TypeCommand    Type = "command"
	TypePing       Type = "ping"
	TypeShutdown   Type = "shutdown"
	TypeWelcome    Type = "welcome"     // negotiated
	TypeOpenTunnel Type = "open_tunnel" // negotiated
	TypeVerdict    Type = "verdict"     // negotiated
	TypeError      Type = "error"       // negotiated
)

// Frames from the agent.
const (
	TypeHeartbeat    Type = "heartbeat"
	TypeAck          Type = "ack"
	TypeComplete     Type = "complete"
	TypeFailed       Type = "failed"
	TypeStatus       Type = "status"
	TypePong         Type = "pong"
	TypeFacilities   Type = "facilities"    // negotiated
	TypeInventory    Type = "inventory"     // negotiated
	TypeTunnelFailed Type = "tunnel_failed" // negotiated
)

// Envelope is one frame: exactly one JSON object in one WebSocket text
// message. Timestamp is informative and decides nothing.
type Envelope struct {
	Type      Type            `json:"type"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Timestamp *time.Time      `json:"timestamp,omitempty"`
}

// Encode makes a frame. A nil payload leaves the key out.
func Encode(kind Type, payload any) ([]byte, error) {
	envelope := Envelope{Type: kind}
	if payload != nil {
		body, err := json.Marshal(payload)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind, err)
		}
		envelope.Payload = body
	}
	frame, err := json.Marshal(envelope)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	if len(frame) > MaxFrame {
		return nil, models.Errorf(models.CodeFrameTooLarge,
			"a %s frame of %d bytes is over the limit of %d", kind, len(frame), MaxFrame)
	}
	return frame, nil
}

// EncodeCommand makes the frame of a Command whose payload is JSON already; an
// empty one is left out. It is Encode without reading the payload.
func EncodeCommand(commandID, action string, payload json.RawMessage) ([]byte, error) {
	type command struct {
		CommandID string `json:"commandId"`
		Action    string `json:"action"`
	}
	head, err := json.Marshal(command{commandID, action})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", TypeCommand, err)
	}
	const before = `{"type":"command","payload":`
	frame := make([]byte, 0, len(before)+len(head)+len(payload)+len(`,"payload":}`)+1)
	frame = append(append(frame, before...), head...)
	if len(payload) > 0 {
		frame = append(append(append(frame[:len(frame)-1], `,"payload":`...), payload...), '}')
	}
	frame = append(frame, '}')
	if len(frame) > MaxFrame {
		return nil, models.Errorf(models.CodeFrameTooLarge,
			"a %s frame of %d bytes is over the limit of %d", TypeCommand, len(frame), MaxFrame)
	}
	return frame, nil
}

// Decode reads a frame. Errors carry models.CodeFrameInvalid, or
// models.CodeFrameTooLarge, and say what is wrong with it. Unknown types and
// unknown keys are not errors, so that either side may be newer.
func Decode(frame []byte) (Envelope, error) {
	var envelope Envelope
	if len(frame) > MaxFrame {
		return envelope, models.Errorf(models.CodeFrameTooLarge,
			"a frame of %d bytes is over the limit of %d", len(frame), MaxFrame)
	}
	if json.Unmarshal(frame, &envelope) == nil && envelope.Type != "" {
		return envelope, nil
	}
	envelope = Envelope{}
	decoder := json.NewDecoder(bytes.NewReader(frame)) // tells better what is wrong
	if err := decoder.Decode(&envelope); err != nil {
		return envelope, &models.Error{Code: models.CodeFrameInvalid,
			Message: "the frame is not a JSON object with type and payload", Err: err}
	}
	// More does not see a bracket that closes nothing.
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return envelope, models.Errorf(models.CodeFrameInvalid,
			"the frame holds more than one message; send one message a frame")
	}
	if envelope.Type == "" {
		return envelope, models.Errorf(models.CodeFrameInvalid, "the frame has no type")
	}
	return envelope, nil
}

// Into decodes the payload. Errors carry models.CodeFrameInvalid.
func (e Envelope) Into(payload any) error {
	if len(e.Payload) == 0 || string(e.Payload) == "null" {
		return models.Errorf(models.CodeFrameInvalid, "a %s frame needs a payload", e.Type)
	}
	if err := json.Unmarshal(e.Payload, payload); err != nil {
		return &models.Error{Code: models.CodeFrameInvalid,
			Message: fmt.Sprintf("the payload of a %s frame is malformed", e.Type), Err: err}
	}
	return nil
}
