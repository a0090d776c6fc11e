package run

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
)

// profiles serves what go tool pprof asks for.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // the named profiles too
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// onLoopback refuses an address that others can reach: profiles show what is in memory and cost processor time, and nobody is asked who they are. A name is
// refused too, because what it means is decided elsewhere.
func onLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("admin.pprof_addr: %.80q is not host:port, such as 127.0.0.1:6060", addr)
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("admin.pprof_addr: %.80q is not on loopback, and profiles show what is in memory; use 127.0.0.1 or [::1], and reach it through ssh or kubectl port-forward", host)
	}
	return nil
}
