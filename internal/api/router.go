package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// base is the path below which the API's resources are.
const base = "/api/v1"

// maxBody is the largest body of a request, in bytes.
const maxBody = 1 << 20

// access says who may call an operation.
type access int

const (
	accessPublic access = iota
	// accessUser is any user, by token or cookie.
	accessUser
	accessAdmin
	// accessAgent is an agent with its key.
	accessAgent
	// accessTicket is whoever has a ticket; the operation redeems it itself.
	accessTicket
)

// The names of the security schemes in the OpenAPI document.
const (
	schemeBearer   = "bearer"
	schemeCookie   = "cookie"
	schemeAgentKey = "agentKey"
	schemeTicket   = "ticket"
)

// metadataAccess is where an operation keeps its access.
const metadataAccess = "access"

// operation describes a route. errors are the statuses of the problems that it
// answers with, beside those that its access brings.
func operation(who access, method, path, id, tag, summary string, errors ...int) huma.Operation {
	op := huma.Operation{
		OperationID:  id,
		Method:       method,
		Path:         path,
		Summary:      summary,
		Tags:         []string{tag},
		Security:     []map[string][]string{},
		Errors:       append(errors, http.StatusInternalServerError),
		Metadata:     map[string]any{metadataAccess: who},
		MaxBodyBytes: maxBody + 1, // huma refuses this many already
	}
	switch who {
	case accessUser, accessAdmin:
		op.Security = []map[string][]string{{schemeBearer: {}}, {schemeCookie: {}}}
	case accessAgent:
		op.Security = []map[string][]string{{schemeAgentKey: {}}}
	case accessTicket:
		op.Security = []map[string][]string{{schemeTicket: {}}}
	case accessPublic:
	}
	if who != accessPublic {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	} else if !anyHost(path) {
		op.Errors = append(op.Errors, http.StatusForbidden)
	}
	return op
}

// bodyErrors are the statuses of what can be wrong with a body besides its
// content.
func bodyErrors() []int {
	return []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
}

// router puts operations on a mux and into the OpenAPI document, so that
// neither has one that the other has not.
type router struct {
	mux    *http.ServeMux
	auth   *auth.Authenticator
	logger *slog.Logger
	huma   huma.API
}

func newRouter(version string, authenticator *auth.Authenticator, logger *slog.Logger) *router {
	r := &router{mux: http.NewServeMux(), auth: authenticator, logger: logger}
	r.huma = huma.NewAPI(huma.Config{
		OpenAPI: newDocument(version),
		Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat,
			"json":             huma.DefaultJSONFormat,
		},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{r.ownErrors},
	}, adapter{r})
	return r
}

// ownErrors turns huma's own errors into problems. It is a transformer, and
// not a replacement of huma.NewError, because that is one variable for all of
// the process; the status travels beside, as huma writes its own after it.
func (r *router) ownErrors(ctx huma.Context, _ string, body any) (any, error) {
	model, isError := body.(*huma.ErrorModel)
	if !isError {
		return body, nil
	}
	problem := problemOfHuma(ctx.Context(), r.logger, model)
	requestOf(ctx.Context()).status = problem.Status
	return problem, nil
}

// adapter lets huma register on the router.
type adapter struct{ router *router }

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	a.router.handle(op, func(w http.ResponseWriter, r *http.Request) {
		handler(statusContext{humago.NewContext(op, r, w)})
	})
}

// ServeHTTP implements huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.mux.ServeHTTP(w, r) }

// humaContext has another name than its method Context, so that it can be
// embedded.
type humaContext huma.Context

// statusContext writes the status of a rewritten error; see ownErrors. It also
// notes when a body breaks off, which huma takes for a failure of ours.
type statusContext struct{ humaContext }

// BodyReader implements huma.Context.
func (c statusContext) BodyReader() io.Reader {
	return &watchedBody{Reader: c.humaContext.BodyReader(), request: requestOf(c.Context())}
}

// watchedBody tells request when it breaks off.
type watchedBody struct {
	io.Reader
	request *request
}

// Read implements io.Reader.
func (b *watchedBody) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if err != nil && !errors.Is(err, io.EOF) {
		b.request.broken = true
	}
	return n, err
}

// SetStatus implements huma.Context.
func (c statusContext) SetStatus(status int) {
	if replaced := requestOf(c.Context()).status; replaced != 0 {
		status = replaced
	}
	c.humaContext.SetStatus(status)
}

// handle puts an operation on the mux, behind its access.
func (r *router) handle(op *huma.Operation, handler http.HandlerFunc) {
	who, _ := op.Metadata[metadataAccess].(access)
	r.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, req *http.Request) {
		if err := r.admit(who, req); err != nil {
			writeProblem(w, problemOf(req.Context(), r.logger, err))
			return
		}
		handler(w, req)
	})
}

// admit finds out who is asking, and whether they may.
func (r *router) admit(who access, req *http.Request) error {
	begun := requestOf(req.Context())
	switch who {
	case accessUser, accessAdmin:
		user, err := r.auth.Authenticate(req)
		if err != nil {
			return err
		}
		if who == accessAdmin && user.Role != models.RoleAdmin {
			return models.Errorf(models.CodeForbidden, "only admins may do this; ask one, or use an admin's token")
		}
		begun.user = user
	case accessAgent:
		agentID, err := r.auth.AuthenticateAgent(req)
		if err != nil {
			return err
		}
		begun.agentID = agentID
	case accessPublic, accessTicket:
	}
	return nil
}

// raw registers an operation that huma cannot serve, such as an upgrade or a
// stream. op.Responses says what it answers besides problems.
func (r *router) raw(op huma.Operation, handler http.HandlerFunc) {
	describeErrors(&op)
	r.huma.OpenAPI().AddOperation(&op)
	r.handle(&op, handler)
}

// long marks op as one that stays open.
func long(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		requestOf(r.Context()).long = true
		handler(w, r)
	}
}

// register registers an operation whose errors become problems. huma checks its
// parameters and its body.
func register[I, O any](r *router, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Errors = append(op.Errors, http.StatusBadRequest)
	describeErrors(&op)
	huma.Register(r.huma, op, func(ctx context.Context, input *I) (*O, error) {
		output, err := handler(ctx, input)
		if err != nil {
			return nil, problemOf(ctx, r.logger, err)
		}
		return output, nil
	})
}

// describeErrors fills in op's problems, and takes Errors away, from which
// huma would make its own.
func describeErrors(op *huma.Operation) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	for _, status := range op.Errors {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content: map[string]*huma.MediaType{
				problemType: {Schema: &huma.Schema{Ref: schemaPrefix + problemSchema}},
			},
		}
	}
	op.Errors = nil
}
