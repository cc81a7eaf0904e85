package catalog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// schema is the part of JSON Schema (draft 7, which editors know) that
// templates need.
type schema struct {
	Schema      string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	// Type is one name or several.
	Type             any                `json:"type,omitempty"`
	Const            any                `json:"const,omitempty"`
	Enum             []any              `json:"enum,omitempty"`
	Pattern          string             `json:"pattern,omitempty"`
	MaxLength        int                `json:"maxLength,omitempty"`
	Minimum          *int               `json:"minimum,omitempty"`
	ExclusiveMinimum *int               `json:"exclusiveMinimum,omitempty"`
	Maximum          int                `json:"maximum,omitempty"`
	Items            *schema            `json:"items,omitempty"`
	MinItems         int                `json:"minItems,omitempty"`
	UniqueItems      bool               `json:"uniqueItems,omitempty"`
	Contains         *schema            `json:"contains,omitempty"`
	Properties       map[string]*schema `json:"properties,omitempty"`
	Required         []string           `json:"required,omitempty"`
	// AdditionalProperties is false for structs and a schema for maps.
	AdditionalProperties any       `json:"additionalProperties,omitempty"`
	AllOf                []*schema `json:"allOf,omitempty"`
	AnyOf                []*schema `json:"anyOf,omitempty"`
	Not                  *schema   `json:"not,omitempty"`
	If                   *schema   `json:"if,omitempty"`
	Then                 *schema   `json:"then,omitempty"`
}

// Schema gives the JSON Schema of a template, for editors: which fields there
// are, and what each may hold. It is made from the same types, patterns and
// lists as those that templates are checked by. What a schema cannot say, such
// as that no variable may be set twice, only reading a template finds.
func Schema() []byte {
	root := schemaMaker{rules: fieldRules(), required: requiredFields()}.of(reflect.TypeFor[models.Template](), "")
	root.Schema = "http://json-schema.org/draft-07/schema#"
	root.Title = "A template of StreamSpace"
	root.Properties["spec"].AllOf = conditions()
	encoded, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("catalog: encode the schema: %v", err)) // it holds only what encodes
	}
	return append(encoded, '\n')
}

type schemaMaker struct {
	rules    map[string]func(*schema)
	required []string
}

// of gives the schema of the fields below path, or of the field there.
func (m schemaMaker) of(of reflect.Type, path string) *schema {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	made := &schema{}
	switch of.Kind() {
	case reflect.Struct:
		made.Type, made.AdditionalProperties, made.Properties = []string{"object"}, false, map[string]*schema{}
		for i, key := range keys(of) {
			inner := below(path, key)
			part := m.of(of.Field(i).Type, inner)
			if slices.Contains(m.required, inner) {
				made.Required = append(made.Required, key)
			} else {
				allowNothing(part)
			}
			made.Properties[key] = part
		}
	case reflect.Map:
		made.Type, made.AdditionalProperties = []string{"object"}, m.of(of.Elem(), path+"{}")
	case reflect.Slice:
		made.Type, made.Items = []string{"array"}, m.of(of.Elem(), path+"[]")
	case reflect.Bool:
		made.Type = []string{"boolean"}
	case reflect.Int, reflect.Int64:
		made.Type = []string{"integer"}
	default:
		made.Type = []string{"string", "number", "boolean"} // cpu: 2 means "2"
	}
	if rule, has := m.rules[path]; has {
		rule(made)
	}
	return made
}

// allowNothing admits a key without a value, which is as good as none.
func allowNothing(part *schema) {
	if types, several := part.Type.([]string); several {
		part.Type = append(types, "null")
	}
	if part.Enum != nil {
		part.Enum = append(part.Enum, "", nil)
	}
}

// conditions are what the fields of spec ask of each other.
func conditions() []*schema {
	one := func(field string, of *schema) *schema {
		return &schema{Type: "object", Properties: map[string]*schema{field: of}, Required: []string{field}}
	}
	isProtocol := func(protocol models.Protocol) *schema { return one("protocol", &schema{Const: protocol}) }
	// Platforms that are not said are all of them.
	runsOn := func(platforms ...string) *schema {
		var listed []*schema
		for _, platform := range platforms {
			listed = append(listed, one("platforms", &schema{Type: "array", Contains: &schema{Const: platform}}))
		}
		anywhere := &schema{Not: one("platforms", &schema{Type: "array", MinItems: 1})}
		return &schema{AnyOf: append(listed, anywhere)}
	}
	contained, first := runsOn(models.PlatformDocker, models.PlatformKubernetes), 1
	pages := one("http", &schema{Type: "object"})
	enabled := one("vnc", one("enabled", &schema{Const: true}))
	return []*schema{
		{If: isProtocol(models.ProtocolVNC), Then: enabled},
		{If: &schema{Not: isProtocol(models.ProtocolVNC)}, Then: &schema{AllOf: []*schema{
			{Not: enabled},
			{Not: one("process", one("geometry", &schema{Not: &schema{Enum: []any{"", nil}}}))},
		}}},
		{If: isProtocol(models.ProtocolHTTP), Then: pages},
		{If: &schema{Not: isProtocol(models.ProtocolHTTP)}, Then: &schema{Not: pages}},
		{If: &schema{AllOf: []*schema{isProtocol(models.ProtocolHTTP), contained}}, Then: one("http", one("port", &schema{Minimum: &first}))},
		{If: runsOn(models.PlatformProcess), Then: one("process", &schema{Type: "object"})},
		{If: contained, Then: one("baseImage", &schema{Type: "string", Pattern: "."})},
		{If: one("onLimit", &schema{Const: models.OnLimitHibernate}), Then: one("persistentHome", &schema{Const: true})},
	}
}

// choices admits the values that the check of a field admits.
func choices[T ~string](of []T) func(*schema) {
	return func(s *schema) {
		s.Type = nil
		for _, one := range of {
			s.Enum = append(s.Enum, string(one))
		}
	}
}

func pattern(of string) func(*schema)          { return func(s *schema) { s.Pattern = of } }
func matching(of *regexp.Regexp) func(*schema) { return pattern(of.String()) }
func fixed(to string) func(*schema)            { return func(s *schema) { s.Type, s.Const = nil, to } }
func between(from, to int) func(*schema)       { return func(s *schema) { s.Minimum, s.Maximum = &from, to } }
func least(from int) func(*schema)             { return between(from, 0) }
func quantity(s *schema)                       { s.Pattern, s.ExclusiveMinimum = quantities, new(int) }
func line(longest int) func(*schema) {
	return func(s *schema) { s.Pattern, s.MaxLength = `^[^\x00-\x1f\x7f-\x9f]*$`, longest }
}

// withoutNULs admits what a process can be given.
func withoutNULs(s *schema) { s.Pattern = `^[^\x00]*$` }

// described adds what an editor shows of a field.
func described(text string, rules ...func(*schema)) func(*schema) {
	return func(s *schema) {
		s.Description = text
		for _, rule := range rules {
			rule(s)
		}
	}
}

func notEmpty(s *schema) { s.Pattern = strings.Replace(s.Pattern, "]*$", "]+$", 1) }

const (
	// quantities has no zero and no exponents.
	quantities = `^([0-9]*[1-9][0-9]*(\.[0-9]*)?|[0-9]*\.[0-9]*[1-9][0-9]*)([mkMGT]|[KMGT]i)?$|^$`
	durations  = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0?$`
	// homes are absolute paths without . and .. in them.
	homes = `^(/([^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.[^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.\.[^/\x00-\x1f\x7f-\x9f]+))+$|^$`
	// webPaths begin with one slash, and have no fragment.
	webPaths = `^(/([^/#\\ \x00-\x1f\x7f][^#\\ \x00-\x1f\x7f]*)?)?$`
	images   = `^[^\s\x00-\x1f\x7f-\x9f]*$`
)

// optional admits an empty text besides those that match.
func optional(of *regexp.Regexp) func(*schema) { return pattern(of.String() + "|^$") }

// requiredFields must be there, with a value, wherever what they are in is.
func requiredFields() []string {
	return strings.Fields(`apiVersion kind metadata metadata.name spec spec.displayName spec.protocol
	spec.env[].name spec.ports[].name spec.ports[].containerPort spec.process.command spec.process.needs[].command`)
}
