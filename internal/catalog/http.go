package catalog

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/streamspace/streamspace/models"
)

// http checks how a session serves its pages.
func (r *reader) http(spec models.TemplateSpec) {
	const field = "spec.http"
	pages, template := *spec.HTTP, models.Template{Spec: spec}
	contained := template.RunsOn(models.PlatformDocker) || template.RunsOn(models.PlatformKubernetes)
	if port := pages.Port; port < 0 || port > 65535 || port == 0 && contained {
		r.wrong(field+".port", "must be 1 to 65535, not %d; containers serve there", port)
	}
	r.webPath(field+".path", pages.Path)
	r.webPath(field+".healthPath", pages.HealthPath)
	if (pages.Username == "") != (pages.Password == "") {
		r.wrong(field, "must have both username and password, or neither")
	}
	if strings.Contains(pages.Username, ":") {
		r.wrong(field+".username", "must not hold a colon, which ends it in basic authentication")
	}
	for part, text := range map[string]string{".username": pages.Username, ".password": pages.Password} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			r.wrong(field+part, "must be one line")
		}
		for _, name := range models.References(text) {
			if !slices.ContainsFunc(spec.Env, func(variable models.EnvVar) bool { return variable.Name == name }) {
				r.wrong(field+part, "stands for the variable %s, which spec.env does not have", name)
			}
		}
	}
	switch name := pages.PrefixEnv; {
	case name != "" && !variables.MatchString(name):
		r.wrong(field+".prefixEnv", "must be letters, digits and underscores, and not begin with a digit; it is %q", name)
	case slices.ContainsFunc(spec.Env, func(variable models.EnvVar) bool { return name != "" && variable.Name == name }):
		r.wrong(field+".prefixEnv", "is %q, which spec.env sets already", name)
	}
}

// webPath checks a path of a session's pages, and a query if there is one.
func (r *reader) webPath(field, path string) {
	if path == "" {
		return
	}
	parsed, err := url.ParseRequestURI(path)
	if err != nil || path[0] != '/' || strings.HasPrefix(path, "//") || parsed.Host != "" || strings.ContainsAny(path, "#\\ ") {
		r.wrong(field, "must be a path that begins with one /, with a query if need be, such as /lab; it is %q", path)
	}
}
