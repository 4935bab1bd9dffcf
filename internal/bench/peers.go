package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A peer is a proxy to compare with, in a configuration that its manual would
// call tuned: kept connections both ways, no logs, nothing on disk.
type peer struct {
	program string
	config  string // %[1]s: the address to listen on, %[2]s: the upstream, %[3]s: a directory
	args    func(file string) []string
}

var peers = map[string]peer{
	"nginx": {"nginx", `
daemon off; worker_processes auto; pid %[3]s/pid; error_log stderr crit;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_max_body_size 16m; client_body_buffer_size 8m;
  client_body_temp_path %[3]s/body; proxy_temp_path %[3]s/proxy; fastcgi_temp_path %[3]s/f;
  uwsgi_temp_path %[3]s/u; scgi_temp_path %[3]s/s;
  upstream u { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
  server { listen %[1]s backlog=4096;
    location / {
      proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;
      proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    }
  }
}
`, func(file string) []string { return []string{"-c", file, "-e", "stderr"} }},
	"haproxy": {"haproxy", `
global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind %[1]s
  default_backend b
backend b
  server s %[2]s pool-max-conn 256
# %[3]s
`, func(file string) []string { return []string{"-f", file, "-db", "-q"} }},
}

// start runs the peer before upstream, with its files in dir.
func (p peer) start(dir, upstream string) (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_ = l.Close() // only its number was wanted
	file := filepath.Join(dir, p.program+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, p.config, addr, upstream, dir), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(p.program, p.args(file)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	proc := &process{cmd, addr}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close() // it was only a knock
			return proc, nil
		}
		if time.Now().After(end) {
			proc.stop()
			return nil, fmt.Errorf("%s did not come up: %w", p.program, err)
		}
	}
}
