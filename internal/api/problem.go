package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/models"
)

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// kind is how an error code appears over HTTP.
type kind struct {
	status int
	title  string
}

// kinds is the only mapping of error codes to HTTP. Codes that a session shows
// as its reasonCode, and an agent in its frames, have a status too, so that
// nothing falls out of the table should one ever answer a request.
var kinds = map[models.ErrorCode]kind{
	models.CodeInvalidRequest:      {http.StatusBadRequest, "The request is not valid"},
	models.CodeUnauthenticated:     {http.StatusUnauthorized, "Not signed in"},
	models.CodeForbidden:           {http.StatusForbidden, "Not allowed"},
	models.CodeOriginForeign:       {http.StatusForbidden, "The request comes from a foreign site"},
	models.CodeNotFound:            {http.StatusNotFound, "Not found"},
	models.CodeSessionUnknown:      {http.StatusNotFound, "No such session"},
	models.CodeSessionConflict:     {http.StatusConflict, "The session id is taken"},
	models.CodeSessionNotRunning:   {http.StatusConflict, "The session is not running"},
	models.CodeTemplateUnknown:     {http.StatusNotFound, "No such template"},
	models.CodeTemplateFixed:       {http.StatusConflict, "The template was not applied"},
	models.CodeAgentUnknown:        {http.StatusNotFound, "No such agent"},
	models.CodeAgentConnected:      {http.StatusConflict, "The agent is connected"},
	models.CodeAgentInUse:          {http.StatusConflict, "Sessions are on the agent"},
	models.CodeAgentUnavailable:    {http.StatusServiceUnavailable, "The agent is not connected"},
	models.CodeNoSuitableAgent:     {http.StatusServiceUnavailable, "No agent can run this"},
	models.CodeCommandUnknown:      {http.StatusNotFound, "No such command"},
	models.CodeCommandFailed:       {http.StatusBadGateway, "The agent could not do it"},
	models.CodeCommandTimeout:      {http.StatusGatewayTimeout, "The agent did not do it in time"},
	models.CodeTicketInvalid:       {http.StatusUnauthorized, "The ticket is not valid"},
	models.CodeTicketExpired:       {http.StatusUnauthorized, "The ticket has expired"},
	models.CodeTicketUsed:          {http.StatusUnauthorized, "The ticket was used already"},
	models.CodeLinkInvalid:         {http.StatusUnauthorized, "The login link is not valid"},
	models.CodeQueueFull:           {http.StatusServiceUnavailable, "Too much is waiting"},
	models.CodeStopped:             {http.StatusServiceUnavailable, "The control plane is stopping"},
	models.CodeEpochStale:          {http.StatusConflict, "A newer connection took over"},
	models.CodeLeaseLost:           {http.StatusConflict, "Another replica took over"},
	models.CodeTransitionIllegal:   {http.StatusConflict, "Not possible in this state"},
	models.CodeFrameInvalid:        {http.StatusBadRequest, "The frame is malformed"},
	models.CodeFrameTooLarge:       {http.StatusRequestEntityTooLarge, "The frame is too large"},
	models.CodeMessageUnknown:      {http.StatusBadRequest, "The message type is unknown"},
	models.CodeNeedsMissing:        {http.StatusServiceUnavailable, "Something is not installed"},
	models.CodeTemplateInvalid:     {http.StatusUnprocessableEntity, "The template is wrong"},
	models.CodeImageMissing:        {http.StatusBadGateway, "There is no such image"},
	models.CodeImageDenied:         {http.StatusBadGateway, "The image may not be pulled"},
	models.CodeImagePlatform:       {http.StatusBadGateway, "The image is for other machines"},
	models.CodeRegistryUnreachable: {http.StatusBadGateway, "The registry cannot be reached"},
	models.CodeDiskFull:            {http.StatusInsufficientStorage, "A disk is full"},
	models.CodeUnschedulable:       {http.StatusServiceUnavailable, "No node takes the session"},
	models.CodeQuotaExceeded:       {http.StatusServiceUnavailable, "A quota is used up"},
	models.CodeVolumeFailed:        {http.StatusServiceUnavailable, "A home cannot be mounted"},
	models.CodeRuntimeExited:       {http.StatusBadGateway, "The session's program ended"},
	models.CodeRuntimeLost:         {http.StatusBadGateway, "The session's runtime is gone"},
	models.CodeStartTimeout:        {http.StatusGatewayTimeout, "The session did not start in time"},
	models.CodeTunnelFailed:        {http.StatusBadGateway, "The session could not be reached"},
	models.CodeUnavailable:         {http.StatusServiceUnavailable, "Not available now"},
	models.CodeInternal:            {http.StatusInternalServerError, "Internal error"},
}

// FieldError names one part of a request that is wrong.
type FieldError struct {
	Location string `json:"location" doc:"where it is, e.g. body.template or query.limit"`
	Message  string `json:"message"`
}

// Problem is every error answer (RFC 9457).
type Problem struct {
	Type      string           `json:"type" doc:"urn:streamspace:error:CODE"`
	Title     string           `json:"title" doc:"the kind of error, for people"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail" doc:"what is wrong here and what to do, for people"`
	Code      models.ErrorCode `json:"code" doc:"the kind of error, for programs; docs/errors.md lists them"`
	Retryable bool             `json:"retryable" doc:"whether the same request may succeed later"`
	RequestID string           `json:"requestId,omitempty" doc:"names the request in the server's log"`
	Errors    []FieldError     `json:"errors,omitempty" doc:"each part of the request that is wrong"`
}

// Error implements error.
func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

func newProblem(ctx context.Context, code models.ErrorCode, detail string) *Problem {
	shown, known := kinds[code]
	if !known {
		shown = kinds[models.CodeInternal]
	}
	return &Problem{
		Type:      "urn:streamspace:error:" + string(code),
		Title:     shown.title,
		Status:    shown.status,
		Detail:    detail,
		Code:      code,
		RequestID: requestOf(ctx).id,
	}
}

// withStatus makes a problem more precise than its code.
func (p *Problem) withStatus(status int) *Problem {
	p.Status = status
	return p
}

// problemOf is what a caller may see of err. What it may not see is logged
// under the request's id.
func problemOf(ctx context.Context, logger *slog.Logger, err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	var coded *models.Error
	if errors.As(err, &coded) && coded.Code != models.CodeInternal {
		if _, known := kinds[coded.Code]; known {
			if coded.Err != nil {
				logger.InfoContext(ctx, "request refused",
					"request", requestOf(ctx).id, "code", coded.Code, "cause", coded.Err)
			}
			problem = newProblem(ctx, coded.Code, coded.Message)
			problem.Retryable = coded.Retryable
			return problem
		}
	}
	if ctx.Err() != nil {
		// The caller has gone, so nobody reads this and nothing is broken.
		return newProblem(ctx, models.CodeUnavailable, "the request was given up")
	}
	return internalProblem(ctx, logger, err)
}

func internalProblem(ctx context.Context, logger *slog.Logger, cause error) *Problem {
	id := requestOf(ctx).id
	logger.ErrorContext(ctx, "request failed", "request", id, "error", cause)
	return newProblem(ctx, models.CodeInternal,
		"something went wrong on the server; its log has more under request "+id)
}

// problemOfHuma rewrites what huma itself found wrong with a request.
func problemOfHuma(ctx context.Context, logger *slog.Logger, model *huma.ErrorModel) *Problem {
	if model.Status >= http.StatusInternalServerError && requestOf(ctx).broken {
		problem := newProblem(ctx, models.CodeInvalidRequest, "the body broke off; send it whole")
		problem.Retryable = true
		return problem
	}
	if model.Status >= http.StatusInternalServerError {
		return internalProblem(ctx, logger, model)
	}
	problem := newProblem(ctx, models.CodeInvalidRequest, model.Detail)
	switch model.Status {
	case http.StatusRequestEntityTooLarge:
		problem.Detail = fmt.Sprintf("the body is too large; send at most %d bytes", maxBody)
		return problem.withStatus(model.Status)
	case http.StatusUnsupportedMediaType:
		problem.Detail = "the body has the wrong content type; send Content-Type: application/json"
		return problem.withStatus(model.Status)
	case http.StatusRequestTimeout:
		problem.Detail = "the body did not arrive in time; send it without pauses"
		problem.Retryable = true
		return problem.withStatus(model.Status)
	}
	details := make([]string, 0, len(model.Errors))
	for _, found := range model.Errors {
		message := found.Message
		if found.Location == "body" && model.Status == http.StatusBadRequest {
			message = "not valid JSON: " + message
		}
		problem.Errors = append(problem.Errors, FieldError{Location: found.Location, Message: message})
		details = append(details, found.Location+": "+message)
	}
	if len(details) > 0 {
		problem.Detail = strings.Join(details, "; ")
	}
	return problem
}

// writeProblem answers outside huma.
func writeProblem(w http.ResponseWriter, problem *Problem) {
	body, err := json.Marshal(problem)
	if err != nil {
		// Strings and numbers always encode.
		body = []byte(`{"code":"internal"}`)
	}
	header := w.Header()
	header.Set("Content-Type", problemType)
	header.Set("Cache-Control", "no-store")
	if problem.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="streamspace"`)
	}
	w.WriteHeader(problem.Status)
	_, _ = w.Write(append(body, '\n')) // the caller may have gone
}
