package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// dialWithin bounds the whole opening of the agent's end.
const dialWithin = 10 * time.Second

// DialOptions say where a tunnel goes and who brings it.
type DialOptions struct {
	// Server is the control plane's base URL.
	Server *url.URL
	// Key and AgentID are the agent's.
	Key, AgentID string
	// TunnelID is the one that the control plane asked for.
	TunnelID string
	// TLS is for https servers; nil is the system's defaults.
	TLS *tls.Config
}

// Dial opens the agent's end of a tunnel. Proxies are those of the environment,
// as for the command connection. An answer that is not an upgrade gives
// models.CodeTunnelFailed.
func Dial(ctx context.Context, options DialOptions) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var raw net.Conn
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { raw = got.Conn },
	}), http.MethodGet, options.address().String(), nil)
	if err != nil {
		return nil, fmt.Errorf("dial tunnel: %w", err)
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", wire.TunnelUpgrade)
	request.Header.Set(wire.HeaderAgentKey, options.Key)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: options.TLS, DisableKeepAlives: true,
		DialContext: dialDirect,
		// An upgrade exists in HTTP/1.1 alone.
		Protocols: http1(),
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("dial tunnel: %w", err)
	}
	body, isStream := response.Body.(io.ReadWriteCloser)
	if response.StatusCode != http.StatusSwitchingProtocols || !isStream {
		defer func() { _ = response.Body.Close() }()
		return nil, refused(response)
	}
	return &upgradedConn{Conn: raw, body: body}, nil
}

func (o DialOptions) address() *url.URL {
	address := o.Server.JoinPath(wire.TunnelPath)
	address.RawQuery = url.Values{wire.ParamAgentID: {o.AgentID}, wire.ParamTunnelID: {o.TunnelID}}.Encode()
	return address
}

func dialDirect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return direct(conn), nil
}

func http1() *http.Protocols {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return protocols
}

// refused makes the error of an answer that is no upgrade.
func refused(response *http.Response) error {
	said := problem{Detail: response.Status}
	// Whatever is not a problem document leaves the status to tell.
	_ = json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&said)
	return models.Errorf(models.CodeTunnelFailed, "the control plane does not take the tunnel: %s", said.Detail)
}

// upgradedConn reads through the response's body, which has what came together
// with the answer, and writes to the connection itself.
type upgradedConn struct {
	net.Conn
	body io.ReadWriteCloser
}

// Read implements net.Conn.
func (c *upgradedConn) Read(into []byte) (int, error) { return c.body.Read(into) }

// CloseWrite ends this direction alone, where the connection can.
func (c *upgradedConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close implements net.Conn.
func (c *upgradedConn) Close() error { return c.body.Close() }
