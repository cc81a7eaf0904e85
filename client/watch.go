package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// maxEvent bounds one event, in bytes.
	maxEvent = 16 << 20
	// maxSilence is how long a stream may be silent before it counts as dead:
	// the server shows that it lives every 15 s.
	maxSilence = 60 * time.Second
)

// Watch calls changed for each change of the user's sessions, one at a time,
// until ctx ends or changed returns an error, and returns that. It reconnects
// by itself; each connection begins with a snapshot. Requests that the API
// refuses for good, e.g. for a wrong token, end it too.
func (c *Client) Watch(ctx context.Context, changed func(Change) error) error {
	failures := 0
	for {
		heard := false
		err := c.watch(ctx, func(change Change) error {
			heard = true
			if err := changed(change); err != nil {
				return &stopError{err}
			}
			return nil
		})
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case c.invalid != nil:
			return c.invalid
		}
		var problem *Problem
		if errors.As(err, &problem) && problem.Status < http.StatusInternalServerError && !problem.Retryable {
			return err
		}
		if heard {
			failures = 0
		}
		if err := c.wait(ctx, failures); err != nil {
			return err
		}
		failures++
	}
}

// stopError carries the error of Watch's callback through.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// watch follows one connection to its end.
func (c *Client) watch(ctx context.Context, changed func(Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := c.request(ctx, call{method: http.MethodGet, segments: []string{"events"}}, "text/event-stream")
	if err != nil {
		return err
	}
	silence := time.AfterFunc(maxSilence, cancel)
	defer silence.Stop()
	response, err := c.options.HTTP.Do(request)
	if err != nil {
		return &transportError{server: c.base.Host, err: err}
	}
	if response.StatusCode != http.StatusOK {
		return readProblem(response)
	}
	defer func() { _ = response.Body.Close() }()
	if err := expect(response, "text/event-stream"); err != nil {
		return err
	}
	return readEvents(response.Body, func() { silence.Reset(maxSilence) }, func(event event) error {
		change, known, err := event.change()
		if err != nil || !known {
			return err
		}
		return changed(change)
	})
}

// event is one server-sent event.
type event struct {
	name string
	data string
}

// change is what the event tells. Events of unknown names are of a newer
// server.
func (e event) change() (change Change, known bool, err error) {
	switch e.name {
	case "snapshot":
		var snapshot struct {
			Sessions []Session `json:"sessions"`
		}
		if err := json.Unmarshal([]byte(e.data), &snapshot); err != nil {
			return Change{}, false, fmt.Errorf("decode a snapshot: %w", err)
		}
		if snapshot.Sessions == nil {
			snapshot.Sessions = []Session{}
		}
		return Change{Snapshot: snapshot.Sessions}, true, nil
	case "session":
		var session Session
		if err := json.Unmarshal([]byte(e.data), &session); err != nil {
			return Change{}, false, fmt.Errorf("decode a session: %w", err)
		}
		return Change{Session: &session}, true, nil
	}
	return Change{}, false, nil
}

// readEvents parses server-sent events as the HTML standard has them: lines
// end with LF, CRLF or CR, several data lines are one text, a comment begins
// with a colon, an event is dispatched by the empty line after it and dropped
// at an end without one. alive is called for each line.
func readEvents(stream io.Reader, alive func(), dispatch func(event) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	lines.Split(splitLines())
	var data strings.Builder
	current, hasData, first := event{}, false, true
	for lines.Scan() {
		alive()
		line := lines.Text()
		if first {
			line, first = strings.TrimPrefix(line, "\ufeff"), false
		}
		if line == "" {
			if hasData {
				current.data = data.String()
				if err := dispatch(current); err != nil {
					return err
				}
			}
			data.Reset()
			current, hasData = event{}, false
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			current.name = value
		case "data":
			if hasData {
				data.WriteByte('\n')
			}
			if data.Len()+len(value) > maxEvent {
				return fmt.Errorf("an event is over %d bytes", maxEvent)
			}
			data.WriteString(value)
			hasData = true
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return io.EOF
}

// splitLines splits at LF, CRLF and CR. A CR at the end of what has arrived
// ends its line at once, as the LF that may follow comes when it likes: it is
// then left out.
func splitLines() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		skipped := 0
		if afterCR && len(data) > 0 {
			afterCR = false
			if data[0] == '\n' {
				skipped = 1
			}
		}
		for i, c := range data[skipped:] {
			switch c {
			case '\n':
				return skipped + i + 1, data[skipped : skipped+i], nil
			case '\r':
				afterCR = true
				return skipped + i + 1, data[skipped : skipped+i], nil
			}
		}
		// What is left at the end is a line that never ended.
		if atEOF {
			return len(data), nil, nil
		}
		return skipped, nil, nil
	}
}
