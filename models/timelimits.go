package models

import (
	"strings"
	"time"
)

// OnLimit is what becomes of a session that reaches a time limit.
type OnLimit string

// What may become of a session at its time limit.
const (
	OnLimitStop      OnLimit = "stop"
	OnLimitHibernate OnLimit = "hibernate"
)

// The shortest and the longest time limit that may be asked for.
const (
	MinTimeLimit = time.Minute
	MaxTimeLimit = 365 * 24 * time.Hour
)

// TimeLimits are for how long a session may run at a stretch, and for how long
// unused. Each is a duration such as 30m or 8h; empty and 0s are no limit.
type TimeLimits struct {
	IdleTimeout string `json:"idleTimeout,omitempty" doc:"how long it may go unused, e.g. 30m; absent is for ever"`
	MaxDuration string `json:"maxDuration,omitempty" doc:"how long it may run at a stretch, e.g. 8h; absent is for ever"`
	// OnLimit is empty without a limit.
	OnLimit OnLimit `json:"onLimit,omitempty" enum:"stop,hibernate" doc:"what becomes of it at a limit"`
}

// TimeLimits are those that the template sets.
func (s TemplateSpec) TimeLimits() TimeLimits {
	limits := TimeLimits{IdleTimeout: s.IdleTimeout, MaxDuration: s.MaxDuration}
	if limits.idle() > 0 || limits.max() > 0 {
		if limits.OnLimit = s.OnLimit; limits.OnLimit == "" {
			limits.OnLimit = OnLimitStop
		}
	}
	return limits
}

// ParseTimeLimit reads what somebody asks for: 0 for none, or MinTimeLimit to
// MaxTimeLimit. what names it in the error, a models.CodeInvalidRequest.
func ParseTimeLimit(what, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit != 0 && (limit < MinTimeLimit || limit > MaxTimeLimit) {
		return 0, &Error{Code: CodeInvalidRequest, Err: err, Message: what + " is \"" + text + "\", which is not a duration such as 30m or 8h, of " +
			FormatDuration(MinTimeLimit) + " to " + FormatDuration(MaxTimeLimit)}
	}
	return limit, nil
}

// FormatDuration writes a duration without parts that are zero: 30m, not 30m0s.
func FormatDuration(duration time.Duration) string {
	text := duration.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Shortened gives the limits with those of a request in place of them. A
// request may set a limit where there is none, and no longer one than there is:
// models.CodeInvalidRequest.
func (s TemplateSpec) Shortened(idleTimeout, maxDuration string) (TemplateSpec, error) {
	for _, one := range []struct {
		what, asked string
		of          *string
	}{{"idleTimeout", idleTimeout, &s.IdleTimeout}, {"maxDuration", maxDuration, &s.MaxDuration}} {
		asked, err := ParseTimeLimit(one.what, one.asked)
		if err != nil {
			return s, err
		}
		allowed := lenient(*one.of)
		if asked == 0 && one.asked != "" && allowed > 0 || allowed > 0 && asked > allowed {
			return s, Errorf(CodeInvalidRequest, "%s is %s, and the template allows no more than %s; ask for less, or leave it out",
				one.what, one.asked, *one.of)
		}
		if asked > 0 {
			*one.of = FormatDuration(asked)
		}
	}
	return s, nil
}

// lenient reads a limit that was checked where it came in.
func lenient(text string) time.Duration {
	limit, err := time.ParseDuration(text)
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}

func (l TimeLimits) idle() time.Duration { return lenient(l.IdleTimeout) }
func (l TimeLimits) max() time.Duration  { return lenient(l.MaxDuration) }

// Ends gives when a session that runs since started, and was last used at
// active, reaches its limits; nil is never.
func (l TimeLimits) Ends(started, active time.Time) (expires, idle *time.Time) {
	if limit := l.max(); limit > 0 {
		at := started.Add(limit).UTC().Truncate(time.Microsecond)
		expires = &at
	}
	if limit := l.idle(); limit > 0 {
		at := active.Add(limit).UTC().Truncate(time.Microsecond)
		idle = &at
	}
	return expires, idle
}

// LimitReached gives the code of the limit that is reached at now, the longest
// duration first, or nothing.
func LimitReached(expires, idle *time.Time, now time.Time) ErrorCode {
	switch {
	case expires != nil && !now.Before(*expires):
		return CodeMaxDuration
	case idle != nil && !now.Before(*idle):
		return CodeIdleTimeout
	}
	return ""
}

// Reason says in plain words why a session ends at the limit of this code.
func (l TimeLimits) Reason(code ErrorCode) string {
	if code == CodeIdleTimeout {
		return "nobody used it for " + FormatDuration(l.idle())
	}
	return "it ran for " + FormatDuration(l.max()) + ", the longest that it may at a stretch"
}

// IsTimeLimit tells whether the code is that of a time limit.
func (c ErrorCode) IsTimeLimit() bool { return c == CodeIdleTimeout || c == CodeMaxDuration }
