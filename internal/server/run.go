package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/config"
)

// Streams are where a program writes: Out what it was run for, Err what people
// should know besides.
type Streams struct {
	Out, Err io.Writer
}

// Run runs a control plane until ctx ends, and stops it in order.
func Run(ctx context.Context, configuration config.Server, version string, streams Streams) error {
	logger := configuration.Log.Logger(streams.Err)
	server, err := New(ctx, configuration, version, logger)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return errors.Join(err, server.Stop())
	}
	warnExposed(server, streams.Err)
	_, _ = fmt.Fprintf(streams.Out, "StreamSpace serves on %s. The admin's token is in %s.\n",
		server.PublicURL(), configuration.AdminTokenFile())
	select {
	case <-ctx.Done():
		return server.Stop()
	case err := <-server.Failed():
		return errors.Join(err, server.Stop())
	}
}

// warnExposed says what listening beyond this machine without TLS means.
func warnExposed(server *Server, w io.Writer) {
	if server.exposed() {
		_, _ = fmt.Fprintf(w, "Warning: %s can be reached from other machines, and without TLS everybody on the way can read "+
			"and steer the sessions. Put a TLS proxy in front and name it with --public-url https://…\n", server.listener.Addr())
	}
}

// Migrate brings the database to this version's form.
func Migrate(ctx context.Context, configuration config.Migrate, streams Streams) error {
	if configuration.Database == "" {
		if err := makeDir(configuration.DataDir); err != nil {
			return err
		}
	}
	logger := configuration.Log.Logger(streams.Err)
	database, err := openDatabase(ctx, configuration.DatabaseURL(), db.Options{Logger: logger})
	if err != nil {
		return err
	}
	if err := database.Close(); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	_, err = fmt.Fprintln(streams.Out, "The database is in this version's form.")
	return err
}
