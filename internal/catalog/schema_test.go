package catalog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

var update = flag.Bool("update", false, "write docs/template.schema.json")

const schemaFile = "../../docs/template.schema.json"

func TestTheSchemaInTheDocsIsFresh(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, catalog.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(committed, catalog.Schema()) {
		t.Errorf("%s is not what the program makes (%v); write it with: go test ./internal/catalog -update", schemaFile, err)
	}
}

// compiled is the schema as a validator of others reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(catalog.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("template.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("template.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// against validates YAML by the schema.
func against(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var read any
	if err := yaml.Unmarshal([]byte(text), &read); err != nil {
		return err
	}
	encoded, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(instance)
}

// The schema refuses what the program refuses, but for what a schema cannot
// say, which is listed here.
func TestTheSchemaRefusesMistakes(t *testing.T) {
	unsayable := []string{
		"anchor", "tag", // of YAML, which are gone in what a schema sees
		"short duration", "long duration", // it would have to calculate
		"variable twice", "port twice", "need twice", // one part of items only
		"nameless command",                                                             // of one item only
		"node selector's key", "toleration of what", "toleration's value", "two users", // what Kubernetes asks of several parts
	}
	schema := compiled(t)
	for name, test := range mistakes() {
		err := against(t, schema, test.edit.apply(t))
		if cannot := slices.Contains(unsayable, name); (err == nil) != cannot {
			t.Errorf("%s: the schema says %v, and is to find it: %v", name, err, !cannot)
		}
	}
	for pages, want := range mistakesInPages() {
		err := against(t, schema, withPages(pages))
		// What one field asks of another is partly more than a schema can say.
		cannot := strings.Contains(want, "neither") || strings.Contains(want, "spec.env")
		if (err == nil) != (want == "" || cannot) {
			t.Errorf("http: %s: the schema says %v, the program %q", pages, err, want)
		}
	}
	for _, text := range []string{
		withPages("{}") + "  vnc: {enabled: true}\n",
		strings.Replace(withPages("{}"), "[process]", "[docker]\n  baseImage: x", 1),
		good + "  http: {}\n",
	} {
		if against(t, schema, text) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
	}
}

// What the program takes the schema takes.
func TestTheSchemaTakesWhatIsRight(t *testing.T) {
	schema := compiled(t)
	templates, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{
		good, whole,
		strings.Replace(good, "[process]", "", 1) + "  baseImage: x\n", // anywhere
		strings.Replace(good, "  platforms: [process]\n", "", 1) + "  baseImage: x\n",
		strings.Replace(good, "terminal", "vnc", 1) + "  vnc: {enabled: true}\n",
		good + "  onLimit: hibernate\n  persistentHome: true\n",
		good + "  onLimit:\n  env:\n  icon: \"\"\n  container:\n  vnc:\n",
		good + "    geometry: \"\"\n",
		withPages("{path: /}"), withPages("{path: /lab?a=b, port: 0}"), withPages("{healthPath: /a//b}"), withPages(`{path: ""}`),
		strings.Replace(withPages("{port: 80}"), "[process]", "[docker]\n  baseImage: x", 1),
		good + "  http:\n",
		good + "  idleTimeout: 1h30m\n  maxDuration: 0s\n",
		strings.Replace(good, "Editor", "7", 1),
		good + "  vnc: {enabled: false, port: 0}\n",
	}
	for _, template := range templates {
		texts = append(texts, string(catalog.Write(template)))
	}
	for _, quantity := range []string{"1", "0.5", ".5", "1.", "10", "500m", "1k", "2M", "2G", "1T", "1Ki", "512Mi", "2Gi", "1Ti", `"2"`, `""`} {
		texts = append(texts, good+"  defaultResources: {cpu: "+quantity+", memory: "+quantity+"}\n  container: {shmSize: "+quantity+"}\n")
	}
	for _, home := range []string{"/config", "/home/a.b", "/.config", "/..a/b", "/a b"} {
		texts = append(texts, good+"  container: {home: "+home+"}\n")
	}
	for _, text := range texts {
		if _, problems := catalog.Read("t.yaml", []byte(text)); len(problems) > 0 {
			t.Errorf("the program refuses what this test takes for right: %v\n%s", problems, text)
		}
		if err := against(t, schema, text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for _, home := range []string{"/", "/a/", "/a/../b", "/./a", "/..", "a", "//a"} {
		text := good + "  container: {home: " + home + "}\n"
		_, problems := catalog.Read("t.yaml", []byte(text))
		if err := against(t, schema, text); err == nil || len(problems) == 0 {
			t.Errorf("home %s: the schema says %v, the program %v", home, err, problems)
		}
	}
	for _, quantity := range []string{"0", "0.0", "-1", "1Pi", "x", "m", "0m"} {
		text := good + "  defaultResources: {cpu: " + quantity + "}\n"
		_, problems := catalog.Read("t.yaml", []byte(text))
		if err := against(t, schema, text); err == nil || len(problems) == 0 {
			t.Errorf("cpu %s: the schema says %v, the program %v", quantity, err, problems)
		}
	}
}

// An editor tells of each field.
func TestTheSchemaDescribesEachField(t *testing.T) {
	var document map[string]any
	if err := json.Unmarshal(catalog.Schema(), &document); err != nil {
		t.Fatal(err)
	}
	var look func(path string, of map[string]any, kind reflect.Type)
	look = func(path string, of map[string]any, kind reflect.Type) {
		for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
			if items, has := of["items"].(map[string]any); has {
				of = items
			}
			kind = kind.Elem()
		}
		if kind.Kind() != reflect.Struct {
			return
		}
		properties, _ := of["properties"].(map[string]any)
		for i := range kind.NumField() {
			key := kind.Field(i).Tag.Get("yaml")
			property, has := properties[key].(map[string]any)
			if !has || property["description"] == nil {
				t.Errorf("describe %s%s in schema_fields.go", path, key)
				continue
			}
			look(path+key+".", property, kind.Field(i).Type)
		}
	}
	look("", document, reflect.TypeFor[models.Template]())
}
