package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/openload"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// arena are the servers that are compared: all before one upstream.
type arena struct {
	dir     string
	o       options
	servers map[string]*process
	order   []string
}

// benchRouter compares the router with plain reverse proxies.
func benchRouter(ctx context.Context, o options) error {
	a, err := newArena(o)
	if a == nil || err != nil {
		return err
	}
	defer a.stop()
	if err := a.start(); err != nil {
		return err
	}
	for _, m := range []func(context.Context) error{a.throughput, a.latency, a.large} {
		if err := m(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *arena) start() error {
	up, err := startChild("child-upstream")
	if err != nil {
		return err
	}
	a.add("direct", up)
	var args []string
	if a.o.profile != "" {
		args = []string{"-profile", a.o.profile}
	}
	// Each design with and without the work that the peers do not do, so that
	// like is compared with like (docs/adr/0003).
	for _, c := range []struct {
		name string
		args []string
	}{
		{"slipway", append([]string{"child-router"}, args...)},
		{"slipway, open", []string{"child-router", "-open"}},
		{"net/http", []string{"child-router", "-nethttp"}},
		{"net/http, open", []string{"child-router", "-nethttp", "-open"}},
		{"ReverseProxy", []string{"child-proxy"}},
		{"ReverseProxy, open", []string{"child-proxy", "-open"}},
	} {
		p, err := startChild(c.args[0], append(c.args[1:], "-upstream", up.addr)...)
		if err != nil {
			return err
		}
		a.add(c.name, p)
	}
	for _, name := range []string{"nginx", "haproxy"} {
		if _, err := exec.LookPath(peers[name].program); err != nil {
			fmt.Printf("SKIPPED: %s is not installed (Debian package %s)\n", name, name)
			continue
		}
		p, err := peers[name].start(a.dir, up.addr)
		if err != nil {
			return err
		}
		a.add(name, p)
	}
	return nil
}

func (a *arena) add(name string, p *process) {
	a.servers[name] = p
	a.order = append(a.order, name)
}

// newArena returns an arena without servers; nil, said aloud, if there is no wrk to
// measure with.
func newArena(o options) (*arena, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		fmt.Println("SKIPPED: wrk is not installed (Debian package wrk)")
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return nil, err
	}
	return &arena{dir: dir, o: o, servers: map[string]*process{}}, nil
}

// stop ends the servers and removes what they wrote.
func (a *arena) stop() {
	for _, p := range a.servers {
		p.stop()
	}
	_ = os.RemoveAll(a.dir) // of temporary files
}

// signed returns the headers of a signed request; they are good for five
// minutes, and verified on every request that carries them.
func signed(ctx context.Context, addr string, body []byte) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+invokeAt, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("User-Agent", "bench")
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	err = v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), "sagemaker", region, time.Now())
	return req.Header, err
}

// wrkScript returns the script that makes wrk send signed requests to addr.
func wrkScript(ctx context.Context, addr string, size int) (string, error) {
	h, err := signed(ctx, addr, bytes.Repeat([]byte("0123456789abcdef"), size/16))
	if err != nil {
		return "", err
	}
	var s strings.Builder
	s.WriteString("wrk.method = 'POST'\nwrk.body = string.rep('0123456789abcdef', " + strconv.Itoa(size/16) + ")\n")
	for k := range h {
		fmt.Fprintf(&s, "wrk.headers[%q] = %q\n", k, h.Get(k))
	}
	return s.String(), nil
}

// figure is what one run of wrk found.
type figure struct {
	rate     float64 // requests/s
	p50, p99 time.Duration
	failed   int // requests that were answered with an error
}

var wrkLines = regexp.MustCompile(
	`(?m)^\s+(50|99)%\s+(\S+)$|^Requests/sec:\s+(\S+)$|(Socket errors.*)|Non-2xx[^:]*:\s+(\d+)`)

// wrk loads one server.
func (a *arena) wrk(ctx context.Context, name string, size, conns int) (figure, error) {
	var f figure
	addr := a.servers[name].addr
	script, err := wrkScript(ctx, addr, size)
	if err != nil {
		return f, err
	}
	file := filepath.Join(a.dir, "wrk.lua")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return f, err
	}
	length := strconv.Itoa(max(1, int(a.o.length.Seconds()))) + "s"
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(conns), "-d"+length,
		"--timeout", "20s", "--latency", "-s", file, "http://"+addr+invokeAt).CombinedOutput()
	if err != nil {
		return f, fmt.Errorf("wrk: %w: %s", err, out)
	}
	for _, m := range wrkLines.FindAllStringSubmatch(string(out), -1) {
		switch {
		case m[4] != "":
			return f, fmt.Errorf("%s: %s", name, m[4])
		case m[5] != "":
			f.failed, err = strconv.Atoi(m[5])
		case m[3] != "":
			f.rate, err = strconv.ParseFloat(m[3], 64)
		case m[1] == "50":
			f.p50, err = time.ParseDuration(m[2])
		default:
			f.p99, err = time.ParseDuration(m[2])
		}
		if err != nil {
			return f, err
		}
	}
	// On a machine that has other work too, now and then a connection takes too long.
	if all := f.rate * a.o.length.Seconds(); f.failed > 0 && float64(f.failed) > all/100 {
		return f, fmt.Errorf("%s: %d of %.0f requests failed", name, f.failed, all)
	}
	return f, nil
}

// compare loads servers in turn, in changing order, and returns their figures
// by round.
func (a *arena) compare(ctx context.Context, names []string, size, conns int) (map[string][]figure, error) {
	got := map[string][]figure{}
	order := slices.Clone(names)
	for round := range a.o.rounds {
		for i := range order {
			name := order[(i+round)%len(order)]
			f, err := a.wrk(ctx, name, size, conns)
			if err != nil {
				return nil, err
			}
			got[name] = append(got[name], f)
		}
		slices.Reverse(order)
	}
	return got, nil
}

func (a *arena) print(got map[string][]figure, size int) {
	for _, name := range a.order {
		fs := got[name]
		if len(fs) == 0 {
			continue
		}
		rate := median(fs, func(f figure) float64 { return f.rate })
		line := fmt.Sprintf("%-18s %8.0f req/s %8.1f MiB/s  p50 %-9v p99 %-9v", name, rate, rate*float64(size)/(1<<20),
			time.Duration(median(fs, func(f figure) float64 { return float64(f.p50) })),
			time.Duration(median(fs, func(f figure) float64 { return float64(f.p99) })))
		if n := failures(fs); n > 0 {
			line += fmt.Sprintf("  (%d failed)", n)
		}
		for _, base := range []string{"nginx", "haproxy"} {
			if _, peer := peers[name]; len(got[base]) > 0 && !peer && name != "direct" {
				ratios := make([]float64, len(fs))
				for i := range fs {
					ratios[i] = fs[i].rate / got[base][i].rate
				}
				slices.Sort(ratios)
				line += fmt.Sprintf("  %.2f of %s (%.2f..%.2f)", middle(ratios), base, ratios[0], ratios[len(ratios)-1])
			}
		}
		fmt.Println(line)
	}
}

func failures(fs []figure) (n int) {
	for _, f := range fs {
		n += f.failed
	}
	return n
}

func median[T any](xs []T, f func(T) float64) float64 {
	v := make([]float64, len(xs))
	for i, x := range xs {
		v[i] = f(x)
	}
	slices.Sort(v)
	return middle(v)
}

func middle(sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (a *arena) throughput(ctx context.Context) error {
	fmt.Printf("-- 1 KiB each way, 64 connections, wrk -t1, %d rounds of %v\n", a.o.rounds, a.o.length)
	fmt.Println("   SigV4 is verified on every request, but by those called open, nginx and HAProxy")
	got, err := a.compare(ctx, a.order, 1<<10, 64)
	if err != nil {
		return err
	}
	a.print(got, 1<<10)
	return nil
}

// standard reports whether a server is one of the standard library's designs.
func standard(name string) bool {
	return strings.HasPrefix(name, "net/http") || strings.HasPrefix(name, "ReverseProxy")
}

// latency measures what the router adds at a fixed rate.
func (a *arena) latency(ctx context.Context) error {
	const rate = 2000
	fmt.Printf("-- 1 KiB each way, open loop at %d req/s, latency from the intended start\n", rate)
	var added50, added99 []float64
	names := []string{"direct", "slipway"}
	for range a.o.rounds {
		p50, p99 := map[string]time.Duration{}, map[string]time.Duration{}
		for _, name := range names {
			r, err := a.openLoop(ctx, name, rate)
			if err != nil {
				return err
			}
			p50[name], p99[name] = r.Latency.Quantile(.5), r.Latency.Quantile(.99)
			fmt.Printf("%-8s %v\n", name, r)
		}
		added50 = append(added50, float64(p50["slipway"]-p50["direct"]))
		added99 = append(added99, float64(p99["slipway"]-p99["direct"]))
		slices.Reverse(names)
	}
	slices.Sort(added50)
	slices.Sort(added99)
	fmt.Printf("added    p50 %v  p99 %v (medians of %d)\n",
		time.Duration(middle(added50)), time.Duration(middle(added99)), a.o.rounds)
	return nil
}

func (a *arena) openLoop(ctx context.Context, name string, rate float64) (*openload.Report, error) {
	addr := a.servers[name].addr
	body := bytes.Repeat([]byte("0123456789abcdef"), 64)
	h, err := signed(ctx, addr, body)
	if err != nil {
		return nil, err
	}
	var fields []http1.Field
	for k := range h {
		fields = append(fields, http1.Field{Name: k, Value: h.Get(k)})
	}
	up := http1.NewClient(http1.UpstreamConfig{DialTimeout: time.Second}).Upstream(addr)
	defer up.Close()
	r, err := openload.Run(ctx, openload.Config{Rate: rate, Duration: a.o.length}, func(context.Context, int) error {
		return get(up, &http1.Outgoing{
			Method: "POST", Path: invokeAt, Fields: fields, Body: body, Before: time.Now().Add(10 * time.Second),
		})
	})
	if err == nil && r.FirstErr != nil {
		err = r.FirstErr
	}
	return r, err
}

func get(up *http1.Upstream, o *http1.Outgoing) error {
	var in http1.Incoming
	if err := up.Do(o, &in); err != nil {
		return err
	}
	defer in.Close()
	for {
		p, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in.Status != 200 {
			return fmt.Errorf("status %d: %s", in.Status, p)
		}
	}
}

// large measures bodies that fill buffers, and the memory they cost.
func (a *arena) large(ctx context.Context) error {
	names := slices.DeleteFunc(slices.Clone(a.order), standard)
	for _, c := range []struct{ size, conns int }{{100 << 10, 64}, {5 << 20, 16}} {
		fmt.Printf("-- %d KiB each way, %d connections\n", c.size>>10, c.conns)
		got, err := a.compare(ctx, names, c.size, c.conns)
		if err != nil {
			return err
		}
		a.print(got, c.size)
		most := peak(a.servers["slipway"].cmd.Process.Pid)
		fmt.Printf("slipway  peak RSS so far %.0f MiB (%d requests of %d KiB at a time)\n", most, c.conns, c.size>>10)
	}
	return nil
}
