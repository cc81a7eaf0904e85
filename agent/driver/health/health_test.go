package health_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/agent/driver/health"
	"github.com/streamspace/streamspace/models"
)

func TestAsk(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/":
			w.WriteHeader(http.StatusUnauthorized)
		case "/lab?reset":
			w.Header().Set("Location", "https://elsewhere.example")
			w.WriteHeader(http.StatusFound)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	plain, secure := httptest.NewServer(http.HandlerFunc(answer)), httptest.NewTLSServer(http.HandlerFunc(answer))
	defer plain.Close()
	defer secure.Close()
	for name, test := range map[string]struct {
		pages models.HTTP
		at    *httptest.Server
		wrong string
	}{
		"a password is wanted":  {models.HTTP{}, plain, ""},
		"it leads on":           {models.HTTP{Path: "/lab?reset"}, plain, ""},
		"TLS":                   {models.HTTP{TLS: true}, secure, ""},
		"not yet":               {models.HTTP{HealthPath: "/health"}, plain, "/health with 503"},
		"the health path rules": {models.HTTP{Path: "/", HealthPath: "/health"}, plain, "503"},
		"TLS that is not":       {models.HTTP{TLS: true}, plain, "TLS"},
	} {
		err := health.Ask(t.Context(), test.pages, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", test.at.Listener.Addr().String())
		})
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
