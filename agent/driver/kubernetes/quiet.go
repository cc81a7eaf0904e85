package kubernetes

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// Quieten has Kubernetes' client tell logger, as what helps to find a mistake,
// what it otherwise writes to stderr in its own way, such as that a connection has
// ended. It is for the whole process: call it once, before anything else is used.
func Quieten(logger *slog.Logger) { klog.SetSlogLogger(slog.New(quiet{logger.Handler()})) }

// quiet makes everything a detail.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, record slog.Record) error {
	record.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attributes []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
