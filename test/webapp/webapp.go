// Package webapp is an app with all that a session's pages may do: WebSockets,
// events, cookies, redirects, forms, uploads and downloads. Tests show it through
// the product, in this process or as a program (webapp/serve).
package webapp

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	ws "github.com/coder/websocket"
)

//go:embed page.html
var page []byte

// unhealthy is how often the app says that it is not ready yet.
const unhealthy = 3

// App is one app. Its name tells which one answers.
type App struct {
	Name string
	// Prefix is below which path all its pages are, without a slash at the end, as
	// an app has it that is told so.
	Prefix string
	// Home is the directory in which it keeps its last guest's name; empty keeps none.
	Home string
	// Asked counts questions for its health, Held requests that wait.
	Asked, Held atomic.Int64
}

// Seen is what the app got, as it tells at /seen and below.
type Seen struct {
	App    string
	Method string
	Host   string
	URI    string
	Header http.Header
	Bytes  int64
}

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", a.home)
	mux.HandleFunc("/health", a.health)
	mux.HandleFunc("/name", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "pages of %s after %d", a.Name, a.Asked.Load())
	})
	mux.HandleFunc("/ws", a.echo)
	mux.HandleFunc("/events", a.events)
	mux.HandleFunc("/seen", a.seen)
	mux.HandleFunc("/seen/", a.seen)
	mux.HandleFunc("/download", a.download)
	mux.HandleFunc("/hold", a.hold)
	mux.HandleFunc("/answer", a.answer)
	mux.HandleFunc("POST /greet", a.greet)
	http.StripPrefix(a.Prefix, mux).ServeHTTP(w, r)
}

func (a *App) home(w http.ResponseWriter, r *http.Request) {
	greeted := ""
	if cookie, err := r.Cookie("greeted"); err == nil {
		greeted = cookie.Value
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Frame-Options", "DENY") // as many apps say, that know nothing of who shows them
	_, _ = fmt.Fprintf(w, string(page), a.Name, greeted, a.guest())
}

func (a *App) guestBook() string { return filepath.Join(a.Home, "guest") }

func (a *App) guest() string {
	if a.Home == "" {
		return ""
	}
	name, err := os.ReadFile(a.guestBook())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(name)
}

// health is bad at first.
func (a *App) health(w http.ResponseWriter, _ *http.Request) {
	if a.Asked.Add(1) <= unhealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// echo sends messages back.
func (a *App) echo(w http.ResponseWriter, r *http.Request) {
	// It checks where the page is from, as apps do.
	socket, err := ws.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = socket.CloseNow() }()
	socket.SetReadLimit(-1)
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil || socket.Write(r.Context(), kind, append([]byte(a.Name+": "), message...)) != nil {
			return
		}
	}
}

// events sends one at once, and more when the next request comes to /hold.
func (a *App) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	a.wait(r)
}

// hold answers never; its caller gives up.
func (a *App) hold(_ http.ResponseWriter, r *http.Request) { a.wait(r) }

func (a *App) wait(r *http.Request) {
	a.Held.Add(1)
	defer a.Held.Add(-1)
	<-r.Context().Done()
}

func (a *App) seen(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	_ = json.NewEncoder(w).Encode(Seen{App: a.Name, Method: r.Method, Host: r.Host, URI: r.RequestURI, Header: r.Header, Bytes: n})
}

// download answers with so many bytes.
func (a *App) download(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil {
		http.Error(w, "how many bytes?", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	piece := make([]byte, 64<<10)
	for size > 0 {
		n, err := w.Write(piece[:min(size, int64(len(piece)))])
		if size -= int64(n); err != nil {
			return
		}
	}
}

// answer answers as its query says: status, and header as "Name: value", often.
func (a *App) answer(w http.ResponseWriter, r *http.Request) {
	for _, line := range r.URL.Query()["header"] {
		for i := range line {
			if line[i] == ':' {
				w.Header()[http.CanonicalHeaderKey(line[:i])] = append(w.Header()[http.CanonicalHeaderKey(line[:i])], line[i+2:])
				break
			}
		}
	}
	if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		w.WriteHeader(status)
	}
	_, _ = fmt.Fprintf(w, "answer of %s", a.Name)
}

// greet remembers a name in a cookie, and leads back.
func (a *App) greet(w http.ResponseWriter, r *http.Request) {
	if a.Home != "" {
		if err := os.WriteFile(a.guestBook(), []byte(r.FormValue("name")), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	http.SetCookie(w, &http.Cookie{Name: "greeted", Value: r.FormValue("name"), Path: "/", HttpOnly: true})
	w.Header().Set("Location", a.Prefix+"/")
	w.WriteHeader(http.StatusSeeOther)
}
