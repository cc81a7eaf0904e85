package api_test

import (
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// document is the OpenAPI document as a program reads it.
type document struct {
	OpenAPI string `json:"openapi"`
	Info    struct {
		Title   string `json:"title"`
		Version string `json:"version"`
	} `json:"info"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas         map[string]*schema         `json:"schemas"`
		SecuritySchemes map[string]json.RawMessage `json:"securitySchemes"`
	} `json:"components"`
	Tags []struct {
		Name string `json:"name"`
	} `json:"tags"`
}

type operation struct {
	OperationID string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Tags        []string              `json:"tags"`
	Security    []map[string][]string `json:"security"`
	Parameters  []parameter           `json:"parameters"`
	RequestBody *content              `json:"requestBody"`
	Responses   map[string]documented `json:"responses"`
}

type parameter struct {
	Name     string  `json:"name"`
	In       string  `json:"in"`
	Required bool    `json:"required"`
	Schema   *schema `json:"schema"`
}

type content struct {
	Content map[string]struct {
		Schema *schema `json:"schema"`
	} `json:"content"`
}

type documented struct {
	content
	Description string             `json:"description"`
	Headers     map[string]*schema `json:"headers"`
}

// schema is the part of JSON schema that the document uses.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 any                `json:"type"` // a name, or a list with null
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	AdditionalProperties any                `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	Enum                 []any              `json:"enum"`
}

func readDocument(t *testing.T, w *world) *document {
	t.Helper()
	answer := w.exchange(http.MethodGet, "/openapi.json").want(http.StatusOK)
	read := &document{}
	must(t, json.Unmarshal(answer.body, read))
	return read
}

// operation finds what the document says of a request. HEAD is GET's.
func (d *document) operation(method, path string) (operation, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path, _, _ = strings.Cut(path, "?")
	if found, known := d.Paths[path][strings.ToLower(method)]; known {
		return found, true
	}
	for template, operations := range d.Paths {
		if matches(template, path) {
			if found, known := operations[strings.ToLower(method)]; known {
				return found, true
			}
		}
	}
	return operation{}, false
}

func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") && b != "" })
}

// check tells where an answer is not what the document promises: its status,
// its media type, its body.
func (d *document) check(t *testing.T, method, path string, got *answer) {
	t.Helper()
	described, known := d.operation(method, path)
	if !known {
		t.Errorf("%s %s is not in the OpenAPI document", method, path)
		return
	}
	response, known := described.Responses[strconv.Itoa(got.status)]
	if !known {
		t.Errorf("%s answered %d, which is not in the OpenAPI document: %s", got.request, got.status, got.body)
		return
	}
	if len(response.Content) == 0 || method == http.MethodHead {
		return
	}
	kind, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	media, known := response.Content[kind]
	if err != nil || !known {
		t.Errorf("%s answered %d with content type %q", got.request, got.status, kind)
		return
	}
	if strings.HasSuffix(kind, "json") {
		var value any
		must(t, json.Unmarshal(got.body, &value))
		if wrong := d.mismatch(media.Schema, value, "body"); wrong != "" {
			t.Errorf("%s answered with %s: %s", got.request, wrong, got.body)
		}
	}
}

// mismatch tells where a value is not of its schema; empty is nowhere.
func (d *document) mismatch(of *schema, value any, at string) string {
	if of == nil {
		return ""
	}
	if of.Ref != "" {
		name := strings.TrimPrefix(of.Ref, "#/components/schemas/")
		if d.Components.Schemas[name] == nil {
			return at + " of the unknown schema " + of.Ref
		}
		return d.mismatch(d.Components.Schemas[name], value, at)
	}
	if allowed := of.types(); len(allowed) > 0 && !slices.ContainsFunc(allowed, func(name string) bool { return isOf(value, name) }) {
		return fmt.Sprintf("%s being %v and not of type %v", at, value, of.Type)
	}
	if len(of.Enum) > 0 && !slices.Contains(of.Enum, value) {
		return fmt.Sprintf("%s being %v and none of %v", at, value, of.Enum)
	}
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			if wrong := d.mismatch(of.Items, item, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
	case map[string]any:
		for _, name := range of.Required {
			if _, there := value[name]; !there {
				return at + " without " + name
			}
		}
		for name, item := range value {
			if described := of.Properties[name]; described != nil {
				if wrong := d.mismatch(described, item, at+"."+name); wrong != "" {
					return wrong
				}
			} else if len(of.Properties) > 0 && name != "$schema" {
				return at + " with the undocumented " + name
			}
		}
	}
	return ""
}

func (s *schema) types() []string {
	switch kind := s.Type.(type) {
	case string:
		return []string{kind}
	case []any:
		var names []string
		for _, name := range kind {
			names = append(names, fmt.Sprint(name))
		}
		return names
	}
	return nil
}

func isOf(value any, name string) bool {
	switch value := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && value == math.Trunc(value)
	case []any:
		return name == "array"
	}
	return name == "object"
}
