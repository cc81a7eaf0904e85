package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

// caller is a command that calls a control plane.
type caller struct {
	configuration config.Client
	streams       Streams
	source        string // where the token is from
}

// bind adds the flags of c to a group of commands.
func (c *caller) bind(command *cobra.Command) {
	c.configuration = config.NewClient()
	c.configuration.Bind(command.PersistentFlags())
	config.Describe(command.PersistentFlags())
}

// connect makes the client once flags are read.
func (c *caller) connect(command *cobra.Command) (*client.Client, error) {
	if token, set := c.streams.Environment(config.EnvToken); set {
		c.configuration.Token = token
	}
	if err := settle(command, command.Flags(), c.streams, func() error { return c.configuration.Validate() }); err != nil {
		return nil, err
	}
	token, source, err := c.configuration.Secret()
	if err != nil {
		return nil, err
	}
	c.source = source
	return client.New(c.configuration.Server, token, client.Options{UserAgent: "streamspace-cli"}), nil
}

// explain adds to an error what to do about it.
func (c *caller) explain(ctx context.Context, err error) error {
	var problem *client.Problem
	var unreached *url.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &unreached):
		return fmt.Errorf("%w\nStart one on this machine with `streamspace up`, or say where it is with --server or STREAMSPACE_SERVER", err)
	case !errors.As(err, &problem):
		return err
	case problem.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w\nThe token is from %s. Set %s, --token-file or --data-dir to use that of %s",
			err, c.source, config.EnvToken, c.configuration.Server)
	case problem.Code == models.CodeTemplateUnknown:
		return fmt.Errorf("%w\nSee: streamspace templates list", err)
	case problem.Code == "":
		return fmt.Errorf("%w\nIs %s a StreamSpace server?", err, c.configuration.Server)
	}
	for _, field := range problem.Errors {
		err = fmt.Errorf("%w\n  %s: %s", err, field.Location, field.Message)
	}
	return err
}

// json tells whether the output is for a program.
func (c *caller) json() bool { return c.configuration.Output == config.OutputJSON }

// show writes value as JSON, or calls table for people.
func (c *caller) show(value any, table func(w io.Writer) error) error {
	if !c.json() {
		return table(c.streams.Out)
	}
	return writeJSON(c.streams.Out, value)
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// all collects every page of a list, or the first limit items; 0 is no limit.
func all[T any](limit int, fetch func(page client.Page) (client.List[T], error)) ([]T, error) {
	items := []T{}
	page := client.Page{Limit: 500}
	for {
		if limit > 0 {
			page.Limit = min(500, limit-len(items))
		}
		list, err := fetch(page)
		if err != nil {
			return nil, err
		}
		items = append(items, list.Items...)
		if list.NextCursor == "" || (limit > 0 && len(items) >= limit) {
			return items, nil
		}
		page.Cursor = list.NextCursor
	}
}
