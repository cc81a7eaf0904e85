package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// doing gives the address of what can be done with a pod.
func (d *Driver) doing(what, pod string) *url.URL {
	return d.api.CoreV1().RESTClient().Post().Resource("pods").Namespace(d.config.Namespace).Name(pod).SubResource(what).URL()
}

// older tells that the API does not know WebSockets, or a proxy before it does
// not.
func older(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// forward connects to a port of a pod through the API.
func (d *Driver) forward(ctx context.Context, pod, port string) (net.Conn, error) {
	at := d.doing("portforward", pod)
	newer, err := portforward.NewSPDYOverWebsocketDialer(at, d.access)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(d.access)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(newer, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at), older)

	type dialled struct {
		connection httpstream.Connection
		err        error
	}
	done := make(chan dialled, 1)
	go func() { // which takes no context
		connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- dialled{connection, err}
	}()
	select {
	case got := <-done:
		if got.err != nil {
			return nil, got.err
		}
		return stream(got.connection, port)
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				_ = late.connection.Close() // nobody wants it any more
			}
		}()
		return nil, ctx.Err()
	}
}

// stream opens the one stream of a connection to a pod, which ends with it.
func stream(connection httpstream.Connection, port string) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(core.PortHeader, port)
	headers.Set(core.PortForwardRequestIDHeader, "0")
	headers.Set(core.StreamType, core.StreamTypeError)
	failure, err := connection.CreateStream(headers)
	if err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("open a stream for errors: %w", err)
	}
	_ = failure.Close() // this side has nothing to say on it
	headers.Set(core.StreamType, core.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	ours, theirs := net.Pipe()
	end := func() {
		_ = connection.Close() // whatever it was, it is over
		_ = theirs.Close()
	}
	go func() {
		defer end()
		_, _ = io.Copy(theirs, data) // the viewer sees that it is over
	}()
	go func() {
		defer end()
		_, _ = io.Copy(data, theirs)
	}()
	go func() {
		if said, err := io.ReadAll(failure); err == nil && len(said) > 0 {
			end() // nothing listens there
		}
	}()
	return ours, nil
}
