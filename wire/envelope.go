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
	TypeImages       Type = "images"        // negotiated
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

// What our own frames have before their type and before their payload.
const (
	beforeType    = `{"type":"`
	beforePayload = `","payload":`
)

// plain tells whether the type needs no escapes. All of ours do not.
func (t Type) plain() bool {
	for _, char := range []byte(t) {
		if char != '_' && (char < 'a' || char > 'z') {
			return false
		}
	}
	return t != ""
}

// Encode makes a frame. A nil payload leaves the key out. A type has small
// letters and underscores only.
func Encode(kind Type, payload any) ([]byte, error) {
	if !kind.plain() {
		return nil, fmt.Errorf("%q is no type of a frame", kind)
	}
	var body []byte
	if payload != nil {
		var err error
		if body, err = json.Marshal(payload); err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind, err)
		}
	}
	frame := make([]byte, 0, len(beforeType)+len(kind)+len(beforePayload)+len(body)+len(`}`))
	frame = append(append(frame, beforeType...), kind...)
	if body == nil {
		frame = append(frame, `"}`...)
	} else {
		frame = append(append(append(frame, beforePayload...), body...), '}')
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
	const before = beforeType + string(TypeCommand) + beforePayload
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
	if envelope, own := split(frame); own {
		return envelope, nil
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

// split reads a frame as Encode writes it, which is nearly every frame, at a
// third of what Unmarshal takes. It gives false for all others.
func split(frame []byte) (envelope Envelope, own bool) {
	rest, own := bytes.CutPrefix(frame, []byte(beforeType))
	end := bytes.IndexByte(rest, '"')
	if !own || end <= 0 {
		return envelope, false
	}
	kind := Type(rest[:end])
	if !kind.plain() {
		return envelope, false
	}
	payload, own := bytes.CutPrefix(rest[end:], []byte(beforePayload))
	if !own || !bytes.HasPrefix(payload, []byte("{")) || !bytes.HasSuffix(payload, []byte("}}")) {
		return envelope, false
	}
	payload = payload[:len(payload)-1]
	return Envelope{Type: kind, Payload: payload}, json.Valid(payload)
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
