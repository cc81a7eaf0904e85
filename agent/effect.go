package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/streamspace/streamspace/models"
)

const (
	// maxReason bounds the words about a failure, in bytes: the control plane
	// keeps no more.
	maxReason = 1000
	// maxMetadata bounds what is told of a runtime, in bytes of JSON.
	maxMetadata = 64 << 10
)

// do has the driver do the task. It gives no outcome when the agent stops
// before there is one.
func (e *executor) do(t *task, log *slog.Logger) (outcome Outcome, over bool) {
	if e.revoked(t) {
		return superseded(), true
	}
	release, err := e.slot(t)
	if err != nil {
		return superseded(), errors.Is(err, errRevoked)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(t.ctx, e.within, errTooLong)
	defer cancel()
	//failpoint:effect-ahead
	if models.Begins(t.action) {
		outcome, err = e.start(ctx, t, log)
	} else {
		outcome, err = e.stop(ctx, t)
	}
	//failpoint:effect-done
	if err == nil {
		return outcome, true
	}
	log.Warn("the driver failed", "error", err)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errRevoked):
		return superseded(), true
	case errors.Is(cause, errDrained):
		return Outcome{}, false
	case errors.Is(cause, errTooLong):
		outcome = e.overdue(t)
	default:
		outcome = failure(err, t.action)
	}
	if models.Begins(t.action) {
		outcome.Lingers = !e.clear(t, log)
		if errors.Is(context.Cause(e.effects), errDrained) {
			return Outcome{}, false
		}
	}
	return outcome, true
}

// clear makes sure that nothing runs of a session that could not be started,
// since it may be started elsewhere next. A driver leaves nothing after an
// error; but one that could not reach its platform cannot know of a runtime
// that an earlier run of this agent has made.
func (e *executor) clear(t *task, log *slog.Logger) bool {
	ctx, cancel := context.WithTimeout(e.effects, e.within)
	defer cancel()
	if err := e.driver.Stop(ctx, t.ref); err != nil {
		log.Warn("what could not be started may run in part", "error", err)
		return false
	}
	return true
}

// revoked tells that a start must not happen any more: a stop or hibernation of
// its generation or a later one has been taken, now or in an earlier run.
func (e *executor) revoked(t *task) bool {
	if !models.Begins(t.action) {
		return false
	}
	return errors.Is(context.Cause(t.ctx), errRevoked) ||
		t.ref.Generation > 0 && t.ref.Generation <= e.journal.Stopped(t.ref.SessionID)
}

// slot waits until the task may be done, and gives why it never may.
func (e *executor) slot(t *task) (release func(), err error) {
	slots := e.stops
	if models.Begins(t.action) {
		slots = e.starts
	}
	// Select would choose at random, here and below.
	if e.isClosing() {
		return nil, errDrained
	}
	select {
	case slots <- struct{}{}:
	case <-t.ctx.Done():
		return nil, context.Cause(t.ctx)
	case <-e.closing:
		return nil, errDrained
	}
	if err := context.Cause(t.ctx); err != nil {
		<-slots
		return nil, err
	}
	return func() { <-slots }, nil
}

func (e *executor) start(ctx context.Context, t *task, log *slog.Logger) (Outcome, error) {
	spec := t.spec
	spec.Report = e.reporter(t)
	started, err := e.driver.Start(ctx, spec)
	if err != nil {
		return Outcome{}, err
	}
	e.census.started(started)
	result := models.CommandPayload{
		"state":    string(models.SessionRunning),
		"vncReady": started.Protocol == models.ProtocolVNC,
	}
	if metadata, err := json.Marshal(started.Metadata); err != nil || len(metadata) > maxMetadata {
		log.Error("what the driver says of the session cannot be told", "bytes", len(metadata), "error", err)
	} else if len(started.Metadata) > 0 {
		result["platformMetadata"] = started.Metadata
	}
	return Outcome{Completed: true, Result: result}, nil
}

func (e *executor) stop(ctx context.Context, t *task) (Outcome, error) {
	ref := t.stopRef()
	e.tunnels.cut(ref)
	if err := e.driver.Stop(ctx, ref); err != nil {
		return Outcome{}, err
	}
	if t.ended != nil {
		e.tellEnd(*t.ended)
	}
	e.census.stopped(ref)
	became := models.SessionTerminated
	if t.action == models.ActionHibernateSession {
		became = models.SessionHibernated
	}
	return Outcome{Completed: true, Result: models.CommandPayload{"state": string(became)}}, nil
}

// superseded is the outcome of a start that a stop has made pointless: it is
// complete, for what its session was to become in the end is what it is. A
// control plane whose session is past the start's generation ignores it.
func superseded() Outcome {
	return Outcome{Completed: true, Result: models.CommandPayload{
		"state": string(models.SessionTerminated), "superseded": true,
	}}
}

func (e *executor) overdue(t *task) Outcome {
	code, what := models.CodeCommandTimeout, "stop"
	if models.Begins(t.action) {
		code, what = models.CodeStartTimeout, "start"
	}
	return Outcome{Code: code, Retryable: true, Error: fmt.Sprintf("the session did not %s within %v", what, e.within)}
}

// failure is the outcome of a task that failed.
func failure(err error, action string) Outcome {
	outcome := Outcome{Code: models.CodeCommandFailed, Retryable: true,
		Error: publicMessage(err, fmt.Sprintf("the agent could not do %s; its log has more", action))}
	var told *models.Error
	if errors.As(err, &told) {
		outcome.Code, outcome.Retryable = told.Code, told.Retryable
	}
	return outcome
}

// publicMessage is the part of an error that may leave this machine.
func publicMessage(err error, otherwise string) string {
	var told *models.Error
	if !errors.As(err, &told) {
		return otherwise
	}
	return strings.ToValidUTF8(told.Message[:min(len(told.Message), maxReason)], "")
}
