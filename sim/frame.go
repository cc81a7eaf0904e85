package sim

import (
	"encoding/binary"
	"encoding/json"

	"github.com/streamspace/streamspace/wire"
)

// frame is one WebSocket frame as it passes (RFC 6455, 5.2), and what it says.
type frame struct {
	raw []byte
	// kind is empty for control frames.
	kind wire.Type
	said said
	// closing is the status of a close frame, or 0.
	closing int
}

// said is what the simulation needs to know of any message.
type said struct {
	CommandID string `json:"commandId"`
	Action    string `json:"action"`
	Epoch     int64  `json:"epoch"`
	Payload   struct {
		SessionID  string `json:"sessionId"`
		Generation int64  `json:"generation"`
	} `json:"payload"`
}

// cutFrame takes the first frame off a stream, or gives false while it is not
// all there.
func cutFrame(stream []byte) (first frame, rest []byte, whole bool) {
	if len(stream) < 2 {
		return frame{}, stream, false
	}
	length, head := uint64(stream[1]&0x7f), 2
	switch {
	case length == 126 && len(stream) >= 4:
		length, head = uint64(binary.BigEndian.Uint16(stream[2:])), 4
	case length == 127 && len(stream) >= 10:
		length, head = binary.BigEndian.Uint64(stream[2:]), 10
	case length >= 126:
		return frame{}, stream, false
	}
	masked := stream[1]&0x80 != 0
	if masked {
		head += 4
	}
	end := head + int(length)
	if len(stream) < end {
		return frame{}, stream, false
	}
	first.raw = append([]byte(nil), stream[:end]...)
	if opcode := stream[0] & 0x0f; opcode == 8 && !masked && length >= 2 {
		first.closing = int(binary.BigEndian.Uint16(first.raw[head:]))
	} else if opcode == 1 {
		content, _ := first.content()
		first.kind, first.said = understand(content)
	}
	return first, stream[end:], true
}

// content gives what a data frame says, and whether it is masked, as those of
// agents are.
func (f frame) content() (content []byte, masked bool) {
	head := 2
	switch f.raw[1] & 0x7f {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if masked = f.raw[1]&0x80 != 0; !masked {
		return f.raw[head:], false
	}
	content = append([]byte(nil), f.raw[head+4:]...)
	for i := range content {
		content[i] ^= f.raw[head+i%4]
	}
	return content, true
}

// with is the same masked frame with another content. Its mask is zero, which
// changes nothing.
func (f frame) with(content []byte) frame {
	raw := []byte{f.raw[0]}
	if len(content) < 126 {
		raw = append(raw, 0x80|byte(len(content)))
	} else {
		raw = binary.BigEndian.AppendUint16(append(raw, 0x80|126), uint16(len(content)))
	}
	f.raw = append(append(raw, 0, 0, 0, 0), content...)
	return f
}

func understand(content []byte) (wire.Type, said) {
	var message said
	envelope, err := wire.Decode(content)
	if err == nil && len(envelope.Payload) > 0 {
		// What is no object of these types says nothing of them.
		_ = json.Unmarshal(envelope.Payload, &message)
	}
	return envelope.Type, message
}
