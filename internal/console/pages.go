package console

import (
	"fmt"
	"net/http"
)

// page is a page that needs nothing of the build.
type page struct {
	title string
	// body is trusted HTML.
	body string
}

var (
	notBuiltPage = page{
		title: "The console is not built yet",
		body: "<p>This StreamSpace was compiled without its web console. The API and the command line work.</p>" +
			"<p>To get the console, run this in the source tree (it needs Node 20 or newer) and start the new binary:</p>" +
			"<pre>make build\n./bin/streamspace up</pre>",
	}
	notFoundPage = page{
		title: "There is no such page",
		body:  `<p>Go to <a href="/">the console</a>.</p>`,
	}
	methodPage = page{
		title: "This address only serves pages",
		body:  `<p>Use GET, or call the API under <code>/api/v1</code>.</p>`,
	}
)

const pageLayout = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%[1]s · StreamSpace</title>
<style>
body { font: 16px/1.6 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.4rem; }
pre { padding: 1rem; border: 1px solid color-mix(in srgb, currentColor 25%%, transparent); border-radius: 8px; overflow: auto; }
</style>
</head>
<body>
<h1>%[1]s</h1>
%[2]s
</body>
</html>
`

func writePage(w http.ResponseWriter, status int, content page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", cacheNever)
	w.WriteHeader(status)
	// The client may have gone away, and there is nobody else to tell.
	_, _ = fmt.Fprintf(w, pageLayout, content.title, content.body)
}
