// Package client is a typed client of StreamSpace's HTTP API.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
)

const base = "/api/v1"

// Defaults of Options.
const (
	DefaultAttempts   = 3
	DefaultRetryAfter = 200 * time.Millisecond
)

// Options configure a Client. The zero value of a field means its default.
type Options struct {
	// HTTP makes the requests. It must not set a timeout, which would end
	// streams too; the default is a client of its own.
	HTTP *http.Client
	// Attempts is how often a request that is safe to repeat is made in all;
	// DefaultAttempts.
	Attempts int
	// RetryAfter is the longest wait before the second attempt, doubled for
	// each further one up to 30 s; DefaultRetryAfter.
	RetryAfter time.Duration
	// UserAgent names the program; "streamspace-client".
	UserAgent string
}

// Client calls the API of one control plane as one user. Safe for concurrent
// use.
type Client struct {
	base    *url.URL
	invalid error
	token   string
	options Options
}

// New makes a client of the control plane at baseURL, e.g.
// http://127.0.0.1:8080. An invalid baseURL is an error of every call.
func New(baseURL, token string, options Options) *Client {
	if options.HTTP == nil {
		options.HTTP = &http.Client{}
	}
	if options.Attempts <= 0 {
		options.Attempts = DefaultAttempts
	}
	if options.RetryAfter <= 0 {
		options.RetryAfter = DefaultRetryAfter
	}
	if options.UserAgent == "" {
		options.UserAgent = "streamspace-client"
	}
	c := &Client{token: token, options: options}
	parsed, err := url.Parse(strings.TrimRight(baseURL, "/"))
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		c.invalid = fmt.Errorf("the server's address %q must be like http://127.0.0.1:8080", baseURL)
		return c
	}
	c.base = parsed
	return c
}

// call is one request of the API.
type call struct {
	method string
	// segments are the path below base, not escaped.
	segments []string
	query    url.Values
	body     any
	// repeatable tells that making the request twice does what making it once
	// does.
	repeatable bool
}

// request makes the HTTP request of a call.
func (c *Client) request(ctx context.Context, call call, accept string) (*http.Request, error) {
	if c.invalid != nil {
		return nil, c.invalid
	}
	address := c.base.JoinPath(base)
	for _, segment := range call.segments {
		if segment == "" || segment == "." || segment == ".." {
			return nil, fmt.Errorf("%q cannot be an id", segment)
		}
		address = address.JoinPath(url.PathEscape(segment))
	}
	address.RawQuery = call.query.Encode()
	var body io.Reader
	if call.body != nil {
		encoded, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, address.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if call.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("User-Agent", c.options.UserAgent)
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// do makes the call, again if that is safe and may help, and decodes the
// answer into answer.
func (c *Client) do(ctx context.Context, call call, answer any) error {
	var err error
	for attempt := range c.options.Attempts {
		if attempt > 0 {
			if c.wait(ctx, attempt-1) != nil {
				return err
			}
		}
		if err = c.once(ctx, call, answer); err == nil || !call.repeatable || !passing(err) {
			return err
		}
	}
	return err
}

func (c *Client) once(ctx context.Context, call call, answer any) error {
	request, err := c.request(ctx, call, "application/json, application/problem+json")
	if err != nil {
		return err
	}
	response, err := c.options.HTTP.Do(request)
	if err != nil {
		return &transportError{server: c.base.Host, err: err}
	}
	if response.StatusCode >= 300 {
		return readProblem(response)
	}
	defer func() { _ = response.Body.Close() }()
	if err := expect(response, "application/json"); err != nil {
		return err
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return &transportError{server: c.base.Host, err: fmt.Errorf("read the answer: %w", err)}
	}
	// Only a connection whose answer was read to the end is used again.
	_, _ = io.CopyN(io.Discard, response.Body, maxProblem)
	return nil
}

// transportError is a request that got no whole answer.
type transportError struct {
	server string
	err    error
}

// Error says what to do.
func (e *transportError) Error() string {
	return fmt.Sprintf("the server at %s does not answer (%v); is it running?", e.server, bare(e.err))
}

// Unwrap returns the cause.
func (e *transportError) Unwrap() error { return e.err }

// bare takes the method and the address off, which the message has already.
func bare(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// passing tells whether err may be gone at the next attempt. That no agent can
// take a session does not pass in the time of a retry.
func passing(err error) bool {
	var lost *transportError
	if errors.As(err, &lost) {
		return true
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		return false
	}
	switch problem.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return problem.Code == "" || problem.Code == models.CodeUnavailable ||
			problem.Code == models.CodeStopped || problem.Code == models.CodeQueueFull
	}
	return false
}

// maxWait bounds the wait between two attempts.
const maxWait = 30 * time.Second

// wait waits a random time, so that many clients do not come back at once. Its
// bound doubles with each of so many failures in a row before the last one.
func (c *Client) wait(ctx context.Context, failures int) error {
	longest := min(min(c.options.RetryAfter, maxWait)<<min(failures, 16), maxWait) // the shift must not overflow
	timer := time.NewTimer(rand.N(longest) + 1)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// get makes a call that only reads.
func get[T any](ctx context.Context, c *Client, query url.Values, segments ...string) (T, error) {
	var answer T
	err := c.do(ctx, call{method: http.MethodGet, segments: segments, query: query, repeatable: true}, &answer)
	return answer, err
}
