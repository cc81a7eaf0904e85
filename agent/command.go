package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// maxID bounds ids from outside, in bytes, as the control plane does.
const maxID = 128

// task is one thing to do with a session: a command, the verdict that it must
// not run, or its end at a time limit.
type task struct {
	// commandID is empty without a command.
	commandID string
	action    string
	// ref's generation is 0 when the command has none, as in the basic
	// protocol.
	ref driver.Ref
	// spec is what to start.
	spec driver.Spec
	// ended is what is to be told of a session that the agent stops by itself.
	ended *wire.Status

	// The executor's.

	// ctx ends, with a cause, when the task is not to be done any more.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// before is closed once the session's task before this one is over, done
	// once this one is.
	before <-chan struct{}
	done   chan struct{}
	// journaled tells that the intent is on disk. The executor's lock guards it.
	journaled bool
}

// key identifies the task, so that a repeat is known.
func (t *task) key() taskKey {
	if t.commandID != "" {
		return taskKey{commandID: t.commandID}
	}
	return taskKey{ref: t.ref}
}

type taskKey struct {
	commandID string
	ref       driver.Ref
}

// revokes tells whether the task, a stop or hibernation, makes the earlier one
// pointless.
func (t *task) revokes(earlier *task) bool {
	return models.Ends(t.action) && models.Begins(earlier.action) &&
		earlier.ref.Generation <= t.stopRef().Generation
}

// stopRef names what a stop stops. One that came with a command without
// generation means the session, whatever it runs as.
func (t *task) stopRef() driver.Ref {
	if t.commandID != "" && t.ref.Generation == 0 {
		return driver.Ref{SessionID: t.ref.SessionID, Generation: math.MaxInt64}
	}
	return t.ref
}

// parse makes a task of a command, or the error to answer it with.
func parse(command wire.Command) (task, error) {
	work := task{commandID: command.CommandID, action: command.Action}
	switch command.Action {
	case models.ActionStartSession, models.ActionWakeSession:
		var payload wire.StartPayload
		if err := decode(command.Payload, &payload); err != nil {
			return work, err
		}
		work.ref = driver.Ref{SessionID: payload.SessionID, Generation: payload.Generation}
		resources := models.Resources{CPU: payload.CPU, Memory: payload.Memory}.Or(payload.Manifest.Spec.DefaultResources)
		if err := resources.Validate(); err != nil {
			return work, err
		}
		work.spec = driver.Spec{Ref: work.ref, User: payload.User, Template: payload.Manifest,
			Resources: resources, PersistentHome: payload.PersistentHome}
	case models.ActionStopSession, models.ActionHibernateSession:
		var payload wire.SessionPayload
		if err := decode(command.Payload, &payload); err != nil {
			return work, err
		}
		work.ref = driver.Ref{SessionID: payload.SessionID, Generation: payload.Generation}
	default:
		return work, models.Errorf(models.CodeInvalidRequest,
			"this agent does not know the action %q; it may be older than the control plane", command.Action)
	}
	if work.ref.Generation < 0 {
		return work, models.Errorf(models.CodeInvalidRequest, "the generation %d is negative", work.ref.Generation)
	}
	return work, checkSessionID(work.ref.SessionID)
}

func decode(payload *models.CommandPayload, into any) error {
	if payload == nil {
		return models.Errorf(models.CodeInvalidRequest, "the command has no payload")
	}
	body, err := json.Marshal(payload)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return models.Errorf(models.CodeInvalidRequest, "%s in the command's payload must not be a %s", mismatch.Field, mismatch.Value)
	}
	if err != nil {
		return fmt.Errorf("decode the command's payload: %w", err)
	}
	return nil
}

func checkCommandID(id string) error {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return models.Errorf(models.CodeFrameInvalid, "a command needs a commandId of at most %d printable characters", maxID)
	}
	return nil
}

// checkSessionID keeps out what drivers could not make names of, such as paths
// that lead elsewhere.
func checkSessionID(id string) error {
	valid := id != "" && len(id) <= maxID && !strings.ContainsRune("-._", rune(id[0])) && !strings.ContainsFunc(id, func(r rune) bool {
		return !strings.ContainsRune("-._", r) && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	if !valid {
		return models.Errorf(models.CodeInvalidRequest, "the session id must be letters, digits, dots, dashes and underscores, "+
			"at most %d, and begin with a letter or digit", maxID)
	}
	return nil
}
