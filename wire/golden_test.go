package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// update writes the golden frames anew: go test ./wire -update. A change of
// one that is there breaks agents that others have made.
var update = flag.Bool("update", false, "write testdata anew")

// transcribe gives a value as another type has it, by way of JSON.
func transcribe(from, to any) {
	body, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(body, to)
	}
	if err != nil {
		panic(err)
	}
}

func pathOf(name string) string { return filepath.Join("testdata", name+".json") }

func TestGoldenFrames(t *testing.T) {
	written := map[string]bool{}
	for _, frame := range append(toAgent(), toControlPlane()...) {
		written[pathOf(frame.file)] = true
		t.Run(frame.file, func(t *testing.T) { pin(t, frame) })
	}
	files, err := filepath.Glob(pathOf("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !written[file] {
			t.Errorf("no frame is like %s; remove it", file)
		}
	}
}

// pin checks that a frame is encoded as its file has it, and that the file is
// decoded to what was encoded.
func pin(t *testing.T, frame golden) {
	encoded, err := wire.Encode(frame.kind, frame.payload)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := json.Indent(&shown, encoded, "", "  "); err != nil {
		t.Fatal(err)
	}
	shown.WriteByte('\n')
	if *update {
		if err := os.WriteFile(pathOf(frame.file), shown.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(pathOf(frame.file))
	if err != nil {
		t.Fatalf("%v; go test ./wire -update writes it", err)
	}
	if !bytes.Equal(file, shown.Bytes()) {
		t.Errorf("the frame is\n%s\nand was\n%s", shown.Bytes(), file)
	}
	decoded, err := wire.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if decoded.Type != frame.kind || decoded.Timestamp != nil {
		t.Errorf("the frame is decoded as %+v", decoded)
	}
	if frame.payload == nil {
		if decoded.Payload != nil {
			t.Errorf("there is a payload: %s", decoded.Payload)
		}
		return
	}
	payload := reflect.New(reflect.TypeOf(frame.payload))
	if err := decoded.Into(payload.Interface()); err != nil {
		t.Fatal(err)
	}
	if got := payload.Elem().Interface(); !reflect.DeepEqual(got, frame.payload) {
		t.Errorf("the payload is\n%+v, was\n%+v", got, frame.payload)
	}
}

// A start's payload is more than a map: both sides read it as one type.
func TestGoldenStart(t *testing.T) {
	file, err := os.ReadFile(pathOf("command-start"))
	if err != nil {
		t.Fatal(err)
	}
	message, err := wire.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	var command wire.Command
	if err := message.Into(&command); err != nil {
		t.Fatal(err)
	}
	var start wire.StartPayload
	transcribe(command.Payload, &start)
	again := models.CommandPayload{}
	transcribe(start, &again)
	if !reflect.DeepEqual(again, *command.Payload) {
		t.Errorf("the payload loses something:\n%v\n%v", again, *command.Payload)
	}
	if empty := emptyFields(reflect.ValueOf(start), "start"); len(empty) > 0 {
		t.Errorf("the golden start leaves out %v", empty)
	}
}

// Each field of each payload has a value in some golden frame, so that none
// can change its name unseen.
func TestGoldenFramesAreWhole(t *testing.T) {
	for _, frame := range append(toAgent(), toControlPlane()...) {
		if frame.payload == nil {
			continue
		}
		if empty := emptyFields(reflect.ValueOf(frame.payload), frame.file); len(empty) > 0 {
			t.Errorf("nothing is in %v", empty)
		}
	}
}

func emptyFields(value reflect.Value, path string) []string {
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return []string{path}
		}
		return emptyFields(value.Elem(), path)
	case reflect.Struct:
		var empty []string
		for i := range value.NumField() {
			empty = append(empty, emptyFields(value.Field(i), path+"."+value.Type().Field(i).Name)...)
		}
		return empty
	case reflect.Slice:
		if value.Len() == 0 {
			return []string{path}
		}
		return emptyFields(value.Index(0), path)
	}
	if value.IsZero() {
		return []string{path}
	}
	return nil
}

// A type that is declared has a golden frame, and docs/protocol.md knows it.
func TestEveryTypeIsPinnedAndDescribed(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	pinned := map[wire.Type]bool{}
	for _, frame := range append(toAgent(), toControlPlane()...) {
		pinned[frame.kind] = true
	}
	declared := declaredTypes(t)
	if len(declared) < 10 {
		t.Fatalf("only %v were found", declared)
	}
	for _, kind := range declared {
		if !pinned[kind] {
			t.Errorf("%s has no golden frame", kind)
		}
		if !bytes.Contains(page, []byte("`"+kind+"`")) {
			t.Errorf("docs/protocol.md does not tell of `%s`", kind)
		}
	}
}

// declaredTypes reads the constants Type… from the source.
func declaredTypes(t *testing.T) []wire.Type {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "envelope.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []wire.Type
	ast.Inspect(file, func(node ast.Node) bool {
		spec, isValue := node.(*ast.ValueSpec)
		if !isValue || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Type") {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, wire.Type(text))
		return true
	})
	return kinds
}
