package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// Frames as agents of others send them: of the basic protocol only, with keys
// that we do not know, with a timestamp or without.
func TestForeignFrames(t *testing.T) {
	for name, test := range map[string]struct {
		frame string
		kind  wire.Type
		want  any
	}{
		"heartbeat": {
			`{"type":"heartbeat","timestamp":"2026-01-02T03:04:05.678901+02:00","payload":{"status":"online","activeSessions":3,"capacity":{"maxSessions":"ten","gpus":[1,2]}}}`,
			wire.TypeHeartbeat,
			wire.Heartbeat{Status: "online", ActiveSessions: 3, Capacity: map[string]any{"maxSessions": "ten", "gpus": []any{1.0, 2.0}}},
		},
		"bare heartbeat": {`{"type":"heartbeat","payload":{}}`, wire.TypeHeartbeat, wire.Heartbeat{}},
		"ack": {
			`{"payload":{"commandId":"cmd-1","receivedAt":17},"seq":4,"type":"ack"}`, wire.TypeAck, wire.Ack{CommandID: "cmd-1"},
		},
		"complete without a result": {
			`{"type":"complete","payload":{"commandId":"cmd-1"}}`, wire.TypeComplete, wire.Complete{CommandID: "cmd-1"},
		},
		"complete with null": {
			`{"type":"complete","payload":{"commandId":"cmd-1","result":null},"timestamp":null}`, wire.TypeComplete, wire.Complete{CommandID: "cmd-1"},
		},
		"complete with more": {
			`{"type":"complete","payload":{"commandId":"cmd-1","result":{"podName":"p","vncPort":5900}}}`, wire.TypeComplete,
			wire.Complete{CommandID: "cmd-1", Result: &models.CommandPayload{"podName": "p", "vncPort": 5900.0}},
		},
		"failed": {
			`{"type":"failed","payload":{"commandId":"cmd-1","error":"no space\nleft"}}`, wire.TypeFailed,
			wire.Failed{CommandID: "cmd-1", Error: "no space\nleft"},
		},
		"status": {
			`{"type":"status","payload":{"sessionId":"s-1","state":"stopped","vncReady":false,"vncPort":0,"platformMetadata":{"node":"n1"}}}`,
			wire.TypeStatus, wire.Status{SessionID: "s-1", State: "stopped", PlatformMetadata: map[string]any{"node": "n1"}},
		},
		"spaces": {"\n\t {\"type\" : \"ack\" ,\r\n \"payload\": {\"commandId\": \"\\u0063md-1\"}} \n", wire.TypeAck, wire.Ack{CommandID: "cmd-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := wire.Decode([]byte(test.frame))
			if err != nil {
				t.Fatal(err)
			}
			if message.Type != test.kind {
				t.Errorf("the type is %q", message.Type)
			}
			payload := reflect.New(reflect.TypeOf(test.want))
			if err := message.Into(payload.Interface()); err != nil {
				t.Fatal(err)
			}
			if got := payload.Elem().Interface(); !reflect.DeepEqual(got, test.want) {
				t.Errorf("the payload is %+v, want %+v", got, test.want)
			}
		})
	}
}

// What is not known is for the receiver to decide on.
func TestUnknownTypesAreNoErrors(t *testing.T) {
	message, err := wire.Decode([]byte(`{"type":"song","payload":["la",1]}`))
	if err != nil || message.Type != "song" || string(message.Payload) != `["la",1]` {
		t.Errorf("it is decoded as %+v, %v", message, err)
	}
}

func TestMalformedFrames(t *testing.T) {
	for name, test := range map[string]struct{ frame, want string }{
		"nothing":          {"", "not a JSON object"},
		"no JSON":          {"hello", "not a JSON object"},
		"cut short":        {`{"type":"ack","payload":{"commandId":`, "not a JSON object"},
		"a list":           {`[{"type":"ack"}]`, "not a JSON object"},
		"a string":         {`"ack"`, "not a JSON object"},
		"null":             {`null`, "has no type"},
		"no type":          {`{"payload":{}}`, "has no type"},
		"empty type":       {`{"type":"","payload":{}}`, "has no type"},
		"a number as type": {`{"type":7}`, "not a JSON object"},
		"two messages":     {`{"type":"ack"}{"type":"ack"}`, "more than one message"},
		"two lines":        {"{\"type\":\"ack\"}\n{\"type\":\"ack\"}", "more than one message"},
		"something after":  {`{"type":"ack"} x`, "more than one message"},
		"a brace too many": {`{"type":"ack"}}`, "more than one message"},
		"a wrong time":     {`{"type":"ack","timestamp":"yesterday"}`, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := wire.Decode([]byte(test.frame))
			if models.CodeOf(err) != models.CodeFrameInvalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it is decoded as %+v, %v", message, err)
			}
		})
	}
}

func TestMalformedPayloads(t *testing.T) {
	for _, payload := range []string{"", `,"payload":null`, `,"payload":[]`, `,"payload":"cmd-1"`, `,"payload":{"commandId":7}`} {
		message, err := wire.Decode([]byte(`{"type":"ack"` + payload + `}`))
		if err != nil {
			t.Errorf("%s: %v", payload, err)
			continue
		}
		var ack wire.Ack
		if err := message.Into(&ack); models.CodeOf(err) != models.CodeFrameInvalid || !strings.Contains(err.Error(), "ack frame") {
			t.Errorf("%s is decoded as %+v, %v", payload, ack, err)
		}
	}
}

// A timestamp decides nothing, so one that is wrong must not either.
func TestTimestampsAreOnlyKept(t *testing.T) {
	message, err := wire.Decode([]byte(`{"type":"pong","timestamp":"1970-01-01T00:00:00Z"}`))
	if err != nil || message.Timestamp == nil || !message.Timestamp.Equal(longAgo()) {
		t.Errorf("it is decoded as %+v, %v", message, err)
	}
}
