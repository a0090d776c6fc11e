//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// wires are the connections between the processes: each pair has a proxy of its own, so that any two can be cut off from each other.
type wires struct {
	api *toxiproxy.ApiServer

	mu  sync.Mutex
	all map[string]*line
}

// line is one direction of dialling, from one process to a server of another.
type line struct {
	name string
	api  *toxiproxy.ApiServer
	mu   sync.Mutex
	p    *toxiproxy.Proxy
}

func newWires() *wires {
	return &wires{api: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), all: map[string]*line{}}
}

// lay makes the wire from one to another, whose server is at addr, and returns where to dial.
func (w *wires) lay(from, to, addr string) (string, error) {
	x := &line{name: from + ">" + to, api: w.api, p: toxiproxy.NewProxy(w.api, from+">"+to, "127.0.0.1:0", addr)}
	if err := x.p.Start(); err != nil {
		return "", fmt.Errorf("proxy %s: %w", x.name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[x.name] = x
	return x.p.Listen, nil
}

// between are the wires of two processes, whoever dials.
func (w *wires) between(a, b string) []*line {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*line
	for _, name := range []string{a + ">" + b, b + ">" + a} {
		if x := w.all[name]; x != nil {
			out = append(out, x)
		}
	}
	return out
}

func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.all {
		x.p.Stop()
	}
}

// cut ends the wire's connections and refuses new ones.
func (x *line) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.p.Stop()
}

// mend makes the wire as it was. Connections that lived through a fault end, as they do when a network comes back in another state.
func (x *line) mend() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.p.Stop()
	// A new proxy without toxics: taking toxics out of a link whose peer does not read can hang.
	x.p = toxiproxy.NewProxy(x.api, x.p.Name, x.p.Listen, x.p.Upstream)
	return x.p.Start()
}

// toxic is a disturbance in one direction: "upstream" is towards the server.
type toxic struct {
	kind, stream string
	attributes   map[string]any
}

func (x *line) add(t toxic) error {
	data, err := json.Marshal(map[string]any{"type": t.kind, "stream": t.stream, "attributes": t.attributes})
	if err != nil {
		return err
	}
	x.mu.Lock()
	p := x.p
	x.mu.Unlock()
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(string(data))); err != nil {
		return fmt.Errorf("disturb %s: %w", x.name, err)
	}
	return nil
}

// freePorts finds ports that nothing listens on, below those that the kernel gives to outgoing connections: a server that is down for a moment
// must find its port free again.
func freePorts(n int, start int) ([]int, error) {
	var out []int
	for port := start; port < 32000 && len(out) < n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		out = append(out, port)
	}
	if len(out) < n {
		return nil, fmt.Errorf("find %d free ports from %d to 32000: there are %d", n, start, len(out))
	}
	return out, nil
}
