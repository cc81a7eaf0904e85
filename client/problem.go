package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"

	"github.com/streamspace/streamspace/models"
)

// maxProblem bounds what is read of an error answer, in bytes.
const maxProblem = 64 << 10

// Problem is an error that the API answered with (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong and what to do, for people.
	Detail string `json:"detail"`
	// Code is empty when something between us and the API answered.
	Code models.ErrorCode `json:"code"`
	// Retryable tells whether the same request may succeed later.
	Retryable bool `json:"retryable"`
	// RequestID names the request in the server's log.
	RequestID string         `json:"requestId,omitempty"`
	Errors    []FieldProblem `json:"errors,omitempty"`
}

// FieldProblem names one part of a request that is wrong.
type FieldProblem struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// Error gives what is wrong in plain words.
func (p *Problem) Error() string { return p.Detail }

// CodeOf is the code of the Problem in err's chain, or empty.
func CodeOf(err error) models.ErrorCode {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem.Code
	}
	return ""
}

// expect refuses a success that the API did not answer with: a proxy's page, or
// that of another program at this address.
func expect(response *http.Response, mediaType string) error {
	said := response.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(said); err == nil && kind == mediaType {
		return nil
	}
	return &Problem{Status: response.StatusCode,
		Detail: fmt.Sprintf("the server answered with content of type %q and not with %s", said, mediaType)}
}

// readProblem makes the error of an answer that is no success, and closes it.
func readProblem(response *http.Response) *Problem {
	defer func() { _ = response.Body.Close() }()
	problem := &Problem{}
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxProblem)) // half a body is no problem document either
	if json.Unmarshal(body, problem) != nil || problem.Detail == "" {
		problem = &Problem{Detail: fmt.Sprintf("the server answered %s", response.Status)}
		if said := strings.TrimSpace(string(body)); said != "" && len(said) < 200 && !strings.ContainsFunc(said, unquotable) {
			problem.Detail += ": " + said
		}
	}
	problem.Status = response.StatusCode
	return problem
}

// unquotable tells what a text may not have to be shown to people: markup, and
// what steers a terminal.
func unquotable(r rune) bool { return r == '<' || unicode.IsControl(r) }
