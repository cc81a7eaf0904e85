package wire_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// sized makes a frame of exactly so many bytes.
func sized(t *testing.T, size int) []byte {
	t.Helper()
	frame := []byte(`{"type":"shutdown","payload":{"reason":""}}`)
	at := bytes.Index(frame, []byte(`""`)) + 1
	frame = append(frame[:at:at], append(bytes.Repeat([]byte("x"), size-len(frame)), frame[at:]...)...)
	if len(frame) != size {
		t.Fatalf("the frame has %d bytes", len(frame))
	}
	return frame
}

func TestTheLargestFrame(t *testing.T) {
	frame := sized(t, wire.MaxFrame)
	message, err := wire.Decode(frame)
	if err != nil {
		t.Fatalf("a frame of the largest size is refused: %v", err)
	}
	var shutdown wire.Shutdown
	if err := message.Into(&shutdown); err != nil {
		t.Fatal(err)
	}
	if encoded, err := wire.Encode(wire.TypeShutdown, shutdown); err != nil || len(encoded) != wire.MaxFrame {
		t.Errorf("a frame of the largest size has %d bytes, %v", len(encoded), err)
	}
	shutdown.Reason += "x"
	if _, err := wire.Encode(wire.TypeShutdown, shutdown); models.CodeOf(err) != models.CodeFrameTooLarge || !strings.Contains(err.Error(), "shutdown") {
		t.Errorf("a larger one is encoded: %v", err)
	}
	if _, err := wire.Decode(sized(t, wire.MaxFrame+1)); models.CodeOf(err) != models.CodeFrameTooLarge {
		t.Errorf("a larger one is decoded: %v", err)
	}
}

func TestWhatCannotBeEncoded(t *testing.T) {
	if frame, err := wire.Encode(wire.TypeStatus, make(chan int)); err == nil || !strings.Contains(err.Error(), "encode status") {
		t.Errorf("a channel is encoded as %s, %v", frame, err)
	}
}

// The inventory of an agent that runs a lot fits into a frame.
func TestALargeInventoryFits(t *testing.T) {
	var inventory wire.Inventory
	for i := range 1000 {
		inventory.Items = append(inventory.Items, wire.InventoryItem{
			SessionID: strings.Repeat("s", 59) + strconv.Itoa(1000+i), Generation: 1 << 40, State: "hibernating",
		})
	}
	frame, err := wire.Encode(wire.TypeInventory, inventory)
	if err != nil || len(frame) > 200<<10 {
		t.Errorf("the frame has %d bytes, %v; MaxFrame's comment says less", len(frame), err)
	}
}

// Whatever arrives, decoding it ends; what is accepted is the same after
// another round.
func FuzzDecode(f *testing.F) {
	for _, frame := range append(toAgent(), toControlPlane()...) {
		encoded, err := wire.Encode(frame.kind, frame.payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	for _, seed := range []string{"", "{}", "null", `{"type":"ack"}}`, `{"type":"a","payload":"\ud800"}`, "{\"type\":\"\xff\"}", `{"TYPE":"x","type":null}`,
		`{"type":"a","payload":{} }`, `{"type":"a","payload":{}}}`, `{"type":"a","payload":{}, "type":"b"}}`, `{"type":"a","payload":`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		message, err := wire.Decode(frame)
		if err != nil {
			if code := models.CodeOf(err); code != models.CodeFrameInvalid && code != models.CodeFrameTooLarge {
				t.Fatalf("the error has code %q: %v", code, err)
			}
			return
		}
		if message.Type == "" {
			t.Fatal("a frame without a type was accepted")
		}
		var payload any
		if message.Into(&payload) != nil {
			payload = nil
		} else if !json.Valid(message.Payload) {
			t.Fatalf("the payload is no JSON: %q", message.Payload)
		}
		// There is a shorter way for our own frames, which reads the same.
		var generic wire.Envelope
		if err := json.Unmarshal(frame, &generic); err != nil || generic.Type != message.Type || !bytes.Equal(generic.Payload, message.Payload) {
			t.Fatalf("%q was read as %+v and is %+v, %v", frame, message, generic, err)
		}
		encoded, err := wire.Encode(message.Type, payload)
		if models.CodeOf(err) == models.CodeFrameTooLarge {
			return // escapes made it longer
		}
		if plain := !strings.ContainsFunc(string(message.Type), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }); !plain {
			if err == nil {
				t.Fatalf("the type %q was encoded", message.Type)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := wire.Decode(encoded)
		if err != nil || again.Type != message.Type {
			t.Fatalf("%q became %q, %v", frame, encoded, err)
		}
	})
}
