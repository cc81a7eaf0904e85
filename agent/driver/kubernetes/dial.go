package kubernetes

import (
	"context"
	"net"

	core "k8s.io/api/core/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// Dial implements driver.Driver. Its errors are models.CodeSessionNotRunning for
// a runtime that is not there, and models.CodeTunnelFailed.
func (d *Driver) Dial(ctx context.Context, ref driver.Ref) (net.Conn, error) {
	pod, there := d.cached(d.podName(ref))
	if !there || refOf(pod) != ref || stateOf(pod).Running == nil {
		return nil, models.Errorf(models.CodeSessionNotRunning, "the session %s does not run here any more; launch it again", ref.SessionID)
	}
	var conn net.Conn
	var err error
	if pod.Annotations[annotationPort] == "" {
		conn, err = d.joinTerminal(ctx, pod.Name, pod.UID)
	} else {
		conn, err = d.dialPort(ctx, pod)
	}
	if err != nil {
		return nil, &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err, Message: "the session's stream cannot be reached; try again"}
	}
	return conn, nil
}

// dialPort connects to the port of a pod's stream.
func (d *Driver) dialPort(ctx context.Context, pod *core.Pod) (net.Conn, error) {
	port := pod.Annotations[annotationPort]
	if d.config.Direct {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(pod.Status.PodIP, port))
	}
	return d.forward(ctx, pod.Name, port)
}
