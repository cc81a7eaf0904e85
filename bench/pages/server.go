package pages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/streamspace/streamspace/bench/source"
)

// Name is the session's: that of its socket and of its template.
const Name = "pages"

// piece is what the server sends at once, in bytes.
const piece = 64 << 10

// Serve is a session made for measuring: a web server on the socket pages in dir,
// which answers GET /?bytes=N with so many bytes, and takes what is sent to it.
// It serves until ctx ends, and calls ready once it accepts.
func Serve(ctx context.Context, dir string, ready func()) error {
	listener, err := net.Listen("unix", source.Socket(dir, Name))
	if err != nil {
		return fmt.Errorf("serve pages: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer)}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	ready()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve pages: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, _ = io.WriteString(w, strconv.FormatInt(n, 10)) // its sender may have gone
		}
		return
	}
	left, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil {
		http.Error(w, "how many bytes?", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
	for zeros := make([]byte, piece); left > 0; {
		n, err := w.Write(zeros[:min(left, piece)])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}
