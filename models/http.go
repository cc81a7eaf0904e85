package models

import (
	"regexp"
	"slices"
	"strings"
)

// HTTP says how a session serves its pages.
type HTTP struct {
	// Port is the TCP port in a container. A process serves on a Unix socket
	// instead, at the path in the variable HTTPSocketEnv.
	Port int `json:"port,omitempty" yaml:"port"`
	// TLS tells that the session speaks HTTPS. Its certificate is not verified: the
	// connection never leaves the tunnel.
	TLS bool `json:"tls,omitempty" yaml:"tls"`
	// Path is the page that a viewer begins at, with a query if need be; / when
	// empty.
	Path string `json:"path,omitempty" yaml:"path"`
	// HealthPath answers with a status below 500 once the session is ready; Path
	// when empty.
	HealthPath string `json:"healthPath,omitempty" yaml:"healthPath"`
	// Username and Password are added to each request as basic authentication.
	// $(NAME) in them stands for the template's variable of that name.
	Username string `json:"username,omitempty" yaml:"username"`
	Password string `json:"password,omitempty" yaml:"password"`
	// PrefixEnv names the environment variable that tells the session below which
	// path its pages are, such as SUBFOLDER. They are then asked for by their whole
	// path; without it the path that the session sees begins at /.
	PrefixEnv string `json:"prefixEnv,omitempty" yaml:"prefixEnv"`
}

// HTTPSocketEnv is the environment variable of a process that tells where the
// Unix socket is to be on which it serves HTTP.
const HTTPSocketEnv = "STREAMSPACE_HTTP_SOCKET"

// StartPath is Path or its default.
func (h HTTP) StartPath() string {
	if h.Path == "" {
		return "/"
	}
	return h.Path
}

// Health is HealthPath or its default.
func (h HTTP) Health() string {
	if h.HealthPath != "" {
		return h.HealthPath
	}
	return h.StartPath()
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)

// References lists the variables that text stands for, as $(NAME).
func References(text string) []string {
	var names []string
	for _, found := range reference.FindAllStringSubmatch(text, -1) {
		names = append(names, found[1])
	}
	return names
}

// Expand puts the values of variables in their places. What is not among them
// stays as it is written.
func Expand(text string, variables []EnvVar) string {
	return reference.ReplaceAllStringFunc(text, func(written string) string {
		for _, variable := range variables {
			if variable.Name == strings.TrimSuffix(strings.TrimPrefix(written, "$("), ")") {
				return variable.Value
			}
		}
		return written
	})
}

// WithPagePrefix gives the template of one session, which is told below which
// path its pages are if it wants to know. The key is its own; nobody guesses it.
func (t Template) WithPagePrefix(sessionID, key string) Template {
	if t.Spec.HTTP != nil && t.Spec.HTTP.PrefixEnv != "" {
		t.Spec.Env = append(slices.Clone(t.Spec.Env), EnvVar{Name: t.Spec.HTTP.PrefixEnv, Value: PagesPath + sessionID + "/" + key + "/"})
	}
	return t
}

// PagePrefix is the prefix that WithPagePrefix gave, without the slash at its
// end, or empty.
func (t Template) PagePrefix() string {
	for _, variable := range t.Spec.Env {
		if t.Spec.HTTP != nil && t.Spec.HTTP.PrefixEnv != "" && variable.Name == t.Spec.HTTP.PrefixEnv {
			return strings.TrimSuffix(variable.Value, "/")
		}
	}
	return ""
}

// HealthPath is where the session itself answers for its health.
func (t Template) HealthPath() string { return t.PagePrefix() + t.Spec.HTTP.Health() }

// PagesPath is what the addresses of sessions' pages begin with, before the
// session's id, where they have a prefix.
const PagesPath = "/s/"
