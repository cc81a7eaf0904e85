package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/wire"
)

// dialWithin bounds a registration, and the opening of a connection.
const dialWithin = 15 * time.Second

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		// An upgrade exists in HTTP/1.1 alone.
		protocols := &http.Protocols{}
		protocols.SetHTTP1(true)
		dialer := &net.Dialer{Timeout: dialWithin}
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, Protocols: protocols,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return wire.NewBurstConn(conn), nil
			}}
	}
	return &http.Client{
		Transport: transport,
		// The key is for the server that was named, not for where it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// burstOf finds the agent's own connection below TLS; nil when another transport
// made it.
func burstOf(conn net.Conn) *wire.BurstConn {
	if secure, is := conn.(*tls.Conn); is {
		conn = secure.NetConn()
	}
	burst, _ := conn.(*wire.BurstConn)
	return burst
}

// register tells the control plane who and where the agent is.
func (a *Agent) register(ctx context.Context) error {
	body, err := json.Marshal(wire.Register{
		AgentID: a.config.AgentID, Platform: a.config.Driver.Platform(), Region: a.config.Region,
		ClusterID: a.config.ClusterID, ClusterName: a.config.ClusterName,
		HomeStore: a.config.HomeStore, Labels: a.config.Labels, Capacity: a.capacity, Metadata: a.metadata(),
	})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		a.config.Server.JoinPath(wire.RegisterPath).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(wire.HeaderAgentKey, a.config.Key)
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return fmt.Errorf("register: %w", a.refused(response))
	}
	// A body that is read to its end leaves the socket for the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
	return nil
}

// metadata says what people may want to know of the agent.
func (a *Agent) metadata() map[string]any {
	hostname, err := os.Hostname()
	if err != nil {
		a.config.Logger.Warn("this machine's name is not known", "error", err)
	}
	return map[string]any{
		"version": a.config.Version, "hostname": hostname, "os": runtime.GOOS, "arch": runtime.GOARCH,
	}
}

func buildVersion() string {
	if info, known := debug.ReadBuildInfo(); known {
		return info.Main.Version
	}
	return ""
}

// connect opens the command connection.
func (a *Agent) connect(ctx context.Context) (*connection, error) {
	address := a.config.Server.JoinPath(wire.ConnectPath)
	address.RawQuery = url.Values{wire.ParamAgentID: {a.config.AgentID}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var burst *wire.BurstConn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { burst = burstOf(got.Conn) }})
	socket, response, err := ws.Dial(ctx, address.String(), &ws.DialOptions{
		HTTPClient: a.client,
		HTTPHeader: http.Header{
			wire.HeaderAgentKey: {a.config.Key},
			wire.HeaderProtocol: {strconv.Itoa(wire.ProtocolVersion)},
		},
		CompressionMode: ws.CompressionDisabled,
	})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("connect: %w", a.refused(response))
		}
		return nil, fmt.Errorf("connect: %w", err)
	}
	socket.SetReadLimit(wire.MaxFrame)
	return newConnection(socket, burst, response.Header.Get(wire.HeaderProtocol) != "", a.config.Logger), nil
}

// refusal is an answer of the control plane other than the one that was hoped
// for.
type refusal struct {
	status int
	detail string
}

// Error implements error.
func (r *refusal) Error() string { return r.detail }

// lasting tells that the same attempt is refused again until a person does
// something. An agent that is not known registers, and a server that is
// starting, stopping or overloaded passes.
func (r *refusal) lasting() bool {
	return r.status < http.StatusInternalServerError && r.status != http.StatusNotFound &&
		r.status != http.StatusRequestTimeout && r.status != http.StatusTooManyRequests
}

// refused says what the answer means and what to do.
func (a *Agent) refused(response *http.Response) *refusal {
	said := struct {
		Detail string `json:"detail"`
	}{Detail: strconv.Itoa(response.StatusCode) + " " + http.StatusText(response.StatusCode)}
	// Whatever is not a problem document leaves the status to tell.
	_ = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&said)
	r := &refusal{status: response.StatusCode, detail: said.Detail}
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		r.detail = fmt.Sprintf("the control plane does not accept this agent's key (%s); make one with "+
			"`streamspace agents key %s`, and start the agent with it", said.Detail, a.config.AgentID)
	case r.status >= http.StatusMultipleChoices && r.status < http.StatusBadRequest:
		r.detail = fmt.Sprintf("the server sends the agent on to %q; if that is the control plane, name it as the server",
			response.Header.Get("Location"))
	}
	return r
}
