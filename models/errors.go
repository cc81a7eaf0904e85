package models

import (
	"errors"
	"fmt"
)

// ErrorCode is the stable name of a kind of error: programs may compare it,
// and its meaning never changes. Messages are for people and may.
type ErrorCode string

// The error codes. What each means to a caller of the HTTP API is in
// docs/errors.md.
const (
	CodeInvalidRequest      ErrorCode = "invalid_request"
	CodeUnauthenticated     ErrorCode = "unauthenticated"
	CodeForbidden           ErrorCode = "forbidden"
	CodeOriginForeign       ErrorCode = "origin_foreign"
	CodeNotFound            ErrorCode = "not_found"
	CodeSessionUnknown      ErrorCode = "session_unknown"
	CodeSessionConflict     ErrorCode = "session_id_conflict"
	CodeSessionNotRunning   ErrorCode = "session_not_running"
	CodeTemplateUnknown     ErrorCode = "template_unknown"
	CodeTemplateFixed       ErrorCode = "template_not_applied"
	CodeAgentUnknown        ErrorCode = "agent_unknown"
	CodeAgentConnected      ErrorCode = "agent_connected"
	CodeAgentInUse          ErrorCode = "agent_in_use"
	CodeAgentUnavailable    ErrorCode = "agent_unavailable"
	CodeNoSuitableAgent     ErrorCode = "no_suitable_agent"
	CodeWaitingForAgent     ErrorCode = "waiting_for_agent"
	CodeWaitTimeout         ErrorCode = "wait_timeout"
	CodeIdleTimeout         ErrorCode = "idle_timeout"
	CodeMaxDuration         ErrorCode = "max_duration"
	CodeCommandUnknown      ErrorCode = "command_unknown"
	CodeCommandFailed       ErrorCode = "command_failed"
	CodeCommandTimeout      ErrorCode = "command_timeout"
	CodeTicketInvalid       ErrorCode = "ticket_invalid"
	CodeTicketExpired       ErrorCode = "ticket_expired"
	CodeTicketUsed          ErrorCode = "ticket_used"
	CodeLinkInvalid         ErrorCode = "login_link_invalid"
	CodeQueueFull           ErrorCode = "queue_full"
	CodeStopped             ErrorCode = "stopped"
	CodeEpochStale          ErrorCode = "epoch_stale"
	CodeLeaseLost           ErrorCode = "lease_lost"
	CodeTransitionIllegal   ErrorCode = "transition_illegal"
	CodeFrameInvalid        ErrorCode = "frame_invalid"
	CodeFrameTooLarge       ErrorCode = "frame_too_large"
	CodeMessageUnknown      ErrorCode = "message_unknown"
	CodeNeedsMissing        ErrorCode = "needs_missing"
	CodeTemplateInvalid     ErrorCode = "template_invalid"
	CodeImageMissing        ErrorCode = "image_missing"
	CodeImageDenied         ErrorCode = "image_denied"
	CodeImagePlatform       ErrorCode = "image_platform"
	CodeRegistryUnreachable ErrorCode = "registry_unreachable"
	CodeDiskFull            ErrorCode = "disk_full"
	CodeUnschedulable       ErrorCode = "unschedulable"
	CodeQuotaExceeded       ErrorCode = "quota_exceeded"
	CodeVolumeFailed        ErrorCode = "volume_failed"
	CodeRuntimeExited       ErrorCode = "runtime_exited"
	CodeRuntimeLost         ErrorCode = "runtime_lost"
	CodeStartTimeout        ErrorCode = "start_timeout"
	CodeTunnelFailed        ErrorCode = "tunnel_failed"
	CodeUnavailable         ErrorCode = "unavailable"
	CodeInternal            ErrorCode = "internal"
)

// Error is an error that may be shown to a user: Message says what is wrong
// and what to do, in words that give no internals away.
type Error struct {
	Code    ErrorCode
	Message string
	// Retryable tells whether the same request may succeed later.
	Retryable bool
	// Err is the cause, for the log only.
	Err error
}

// Errorf makes an Error whose message is formatted.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error gives code, message and cause, for logs.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf finds the code of the first Error in err's chain: CodeInternal when
// there is none, and the empty code for nil.
func CodeOf(err error) ErrorCode {
	if err == nil {
		return ""
	}
	var coded *Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	return CodeInternal
}
