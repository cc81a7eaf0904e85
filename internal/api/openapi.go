package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	schemaPrefix  = "#/components/schemas/"
	problemSchema = "Problem"
)

// newDocument is the OpenAPI document without its operations.
func newDocument(version string) *huma.OpenAPI {
	registry := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	registry.Schema(reflect.TypeFor[Problem](), true, problemSchema)
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "StreamSpace",
			Version: version,
			Description: "Desktops, browsers and terminals on your own machines, in a web browser. " +
				"Every error is a problem (RFC 9457) with a stable code; every list is paged: " +
				"pass nextCursor as cursor until it is empty.",
			License: &huma.License{Name: "MIT", Identifier: "MIT"},
		},
		Components: &huma.Components{
			Schemas: registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				schemeBearer: {Type: "http", Scheme: "bearer",
					Description: "A token, as streamspace up writes it to admin.token."},
				schemeCookie: {Type: "apiKey", In: "cookie", Name: auth.CookieName,
					Description: "The console's, set by a login link. Requests that change anything must come from our own origin."},
				schemeAgentKey: {Type: "apiKey", In: "header", Name: wire.HeaderAgentKey,
					Description: "The key of one agent."},
				schemeTicket: {Type: "apiKey", In: "query", Name: "ticket",
					Description: "A one-use ticket for one session's stream."},
			},
		},
		Tags: []*huma.Tag{
			{Name: tagSessions, Description: "What runs."},
			{Name: tagTemplates, Description: "What can be run."},
			{Name: tagAgents, Description: "Where it runs."},
			{Name: tagCommands, Description: "What agents were told."},
			{Name: tagAccess, Description: "Who is calling."},
			{Name: tagServer, Description: "The control plane itself."},
		},
	}
}

const (
	tagSessions  = "sessions"
	tagTemplates = "templates"
	tagAgents    = "agents"
	tagCommands  = "commands"
	tagAccess    = "access"
	tagServer    = "server"
)

// encodeDocument finishes the document, once every operation is in it.
func encodeDocument(document *huma.OpenAPI) ([]byte, error) {
	schemas := document.Components.Schemas.Map()
	// huma registers its own error type with each operation; nothing refers
	// to it.
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	restrict(schemas, "Session", "state", models.SessionStates())
	restrict(schemas, "Session", "desiredState", []models.DesiredState{
		models.DesiredRunning, models.DesiredHibernated, models.DesiredTerminated})
	for _, owner := range []string{"Session", "TemplateView"} {
		restrict(schemas, owner, "protocol", []models.Protocol{models.ProtocolVNC, models.ProtocolTerminal, models.ProtocolHTTP})
	}
	restrict(schemas, "Agent", "status", models.AgentStates())
	restrict(schemas, "AgentCommand", "status", models.CommandStates())
	restrict(schemas, problemSchema, "code", sortedCodes())
	openAnswers(document)
	body, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return body, nil
}

func sortedCodes() []models.ErrorCode {
	codes := make([]models.ErrorCode, 0, len(kinds))
	for code := range kinds {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return codes
}

// restrict lists the values of a property, which models cannot do by itself
// as it knows nothing of huma.
func restrict[T any](schemas map[string]*huma.Schema, owner, property string, values []T) {
	schema := schemas[owner]
	if schema == nil || schema.Properties[property] == nil {
		return
	}
	enum := make([]any, 0, len(values))
	for _, value := range values {
		enum = append(enum, value)
	}
	schema.Properties[property].Enum = enum
}

// openAnswers allows unknown keys in all that only answers contain, so that a
// client made from this document does not break over a key that is new.
func openAnswers(document *huma.OpenAPI) {
	schemas := document.Components.Schemas.Map()
	asked := map[string]bool{}
	var follow func(schema *huma.Schema)
	follow = func(schema *huma.Schema) {
		if schema == nil {
			return
		}
		if schema.Ref != "" {
			name := schema.Ref[len(schemaPrefix):]
			if !asked[name] {
				asked[name] = true
				follow(schemas[name])
			}
		}
		for _, property := range schema.Properties {
			follow(property)
		}
		follow(schema.Items)
	}
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				follow(media.Schema)
			}
		}
	}
	for name, schema := range schemas {
		if !asked[name] && schema.AdditionalProperties == false {
			schema.AdditionalProperties = nil
		}
	}
}

// serveDocument answers with the document. The body is set once, after every
// operation is registered, this one included.
type documentHandler struct{ body []byte }

func (d *documentHandler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(d.body) // the caller may have gone
}

// answer describes a response that huma does not make.
func answer(description, mediaType string) *huma.Response {
	response := &huma.Response{Description: description}
	if mediaType != "" {
		response.Content = map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	return response
}

// queryParam describes a parameter of an operation that huma does not serve.
func queryParam(name, description string, required bool) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: description, Required: required,
		Schema: &huma.Schema{Type: huma.TypeString}}
}
