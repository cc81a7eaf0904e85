package api

import (
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// failed shows a person a page in the session's place, and a program a problem.
// One that passes is looked at again by itself.
func (p *pages) failed(w http.ResponseWriter, r *http.Request, err error) {
	problem := problemOf(r.Context(), p.logger, err)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups; frame-ancestors "+
		strings.Join(append(p.hosts.consoles(r), "'self'"), " "))
	if problem.Retryable {
		header.Set("Retry-After", "3")
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		writeProblem(w, problem)
		return
	}
	again := ""
	if problem.Retryable && r.Method == http.MethodGet {
		again = `<meta http-equiv="refresh" content="3">`
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(problem.Status)
	_, _ = fmt.Fprintf(w, failurePage, again, html.EscapeString(problem.Title), html.EscapeString(advice(problem)), problem.Code) // the viewer may have gone
}

// advice says what a person in front of the page does about it.
func advice(problem *Problem) string {
	detail := problem.Detail
	if problem.Retryable {
		return detail + ". This page tries again by itself."
	}
	switch problem.Code {
	case models.CodeTicketInvalid, models.CodeTicketExpired, models.CodeTicketUsed:
		return "This address opens the session once, and was used or has expired. Open the session in the console again."
	}
	return detail
}

const failurePage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
%[1]s<title>%[2]s · StreamSpace</title>
<style>
body { font: 16px/1.6 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.4rem; }
</style>
</head>
<body data-code="%[4]s">
<h1>%[2]s</h1>
<p>%[3]s</p>
<p><small><code>%[4]s</code></small></p>
</body>
</html>
`
