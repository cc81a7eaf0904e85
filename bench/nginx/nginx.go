// Package nginx runs the peer of the benchmark of pages: the proxy that is
// commonly put before a web server.
package nginx

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
)

// Install tells how to get it on Debian.
const Install = "apt-get install nginx"

const (
	startWithin = 30 * time.Second
	probeEvery  = 10 * time.Millisecond
)

// configuration passes everything on to a unix socket, with connections that are
// kept, WebSockets, and nothing stored on the way: as people set it up.
const configuration = `
daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	tcp_nodelay on;
	keepalive_requests 1000000;
	map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
	upstream session { server unix:%[2]s; keepalive 64; keepalive_requests 1000000; }
	server {
		listen %[3]s;
		client_max_body_size 0;
		location / {
			proxy_pass http://session;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_request_buffering off;
		}
	}
}
`

// Proxy is a running nginx.
type Proxy struct {
	*processes.Process
	// Address is where it serves.
	Address string
}

// Start runs nginx in front of the unix socket, with its files in dir.
func Start(ctx context.Context, owner *processes.Owner, dir, socket string) (*Proxy, error) {
	program, err := harness.Need("nginx", Install)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // free a moment ago: nginx cannot choose one
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	// As root nginx runs its workers as another user, who must get to the files.
	for _, open := range []string{dir, filepath.Dir(socket)} {
		if err := os.Chmod(open, 0o755); err != nil {
			return nil, fmt.Errorf("open a directory for nginx: %w", err)
		}
	}
	if err := os.Chmod(socket, 0o777); err != nil {
		return nil, fmt.Errorf("open the socket for nginx: %w", err)
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, dir, socket, address), 0o600); err != nil {
		return nil, fmt.Errorf("write nginx's configuration: %w", err)
	}
	process, err := owner.Start(processes.Command{Path: program, Arguments: []string{"-c", file, "-p", dir, "-e", "stderr"}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return &Proxy{Process: process, Address: address}, conn.Close()
		}
		select {
		case <-time.After(probeEvery):
		case <-process.Exited():
			return nil, fmt.Errorf("nginx ended:\n%s", process.Log())
		case <-ctx.Done():
			return nil, fmt.Errorf("nginx does not accept: %w\n%s", err, process.Log())
		}
	}
}
