package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const defaultServer = "http://127.0.0.1:8080"

// The forms of output.
const (
	OutputTable = "table"
	OutputJSON  = "json"
)

// Client configures the commands that call a control plane.
type Client struct {
	// Server is the control plane's base URL.
	Server string
	// Token is the bearer token. It has no flag, as other users of the machine
	// could read it.
	Token string
	// TokenFile holds the token otherwise. Empty is admin.token in DataDir.
	TokenFile string
	DataDir   string
	// Output is table, for people, or json, for programs.
	Output string
}

// NewClient gives the defaults.
func NewClient() Client {
	return Client{Server: defaultServer, DataDir: DefaultDataDir(os.LookupEnv), Output: OutputTable}
}

// Validate says what is wrong and which flag to change.
func (c Client) Validate() error {
	_, urlErr := webURL("server", c.Server)
	var outputErr error
	if c.Output != OutputTable && c.Output != OutputJSON {
		outputErr = fmt.Errorf("--output must be table or json, not %q", c.Output)
	}
	return errors.Join(urlErr, outputErr)
}

// Secret gives the token and where it comes from, in words for a person.
func (c Client) Secret() (token, source string, err error) {
	if c.Token != "" {
		return c.Token, EnvToken, nil
	}
	path := c.TokenFile
	if path == "" {
		path = adminTokenFile(c.DataDir)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", path, fmt.Errorf("there is no token to sign in with: %s is not set, and %w. "+
			"On the machine where `streamspace up` runs, say where its data is with --data-dir; "+
			"elsewhere, set %s or --token-file", EnvToken, err, EnvToken)
	}
	if token = strings.TrimSpace(string(content)); token == "" {
		return "", path, fmt.Errorf("there is no token to sign in with: %s is empty", path)
	}
	return token, path, nil
}
