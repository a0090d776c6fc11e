package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Request decides by the Authorization header, a ticket in the address, or as anonymous. Where nothing was given and something is needed the
// error is Absent: a websocket may be let in as Nobody to authenticate by its first request. A ticket is redeemed by this call.
func (v *Verifier) Request(r *http.Request) (*Grant, error) {
	headers := r.Header.Values("Authorization")
	tickets := r.URL.Query()["ticket"]
	if len(headers)+len(tickets) > 1 {
		return nil, live.Errorf(live.CodeBadRequest, "give one Authorization header or one ticket, not several")
	}
	if len(tickets) == 1 {
		if r.Method != http.MethodGet {
			return nil, live.Errorf(live.CodeBadRequest, "a ticket opens a connection; this needs a token in the Authorization header")
		}
		return v.redeem(r.Context(), tickets[0])
	}
	if len(headers) == 1 {
		scheme, token, _ := strings.Cut(headers[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, refuse(ReasonMalformed, "the Authorization header is not Bearer and a token")
		}
		return v.Token(strings.TrimSpace(token))
	}
	if v.cfg.Anonymous == AnonymousEveryone || v.cfg.Anonymous == AnonymousLoopback && v.local(r) {
		return v.anonymous, nil
	}
	return nil, refuse(ReasonAbsent, "a token is needed: Authorization: Bearer, a ticket of /v1/ticket, or op authenticate")
}

// forwarding headers show that a proxy stands between: then a loopback address says nothing about who asks.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// local reports whether somebody on this machine asks. The host that was asked for must be a loopback one too: a page whose name was pointed at
// 127.0.0.1 sends its own name there.
func (v *Verifier) local(r *http.Request) bool {
	if slices.ContainsFunc(forwarding, func(h string) bool { return len(r.Header.Values(h)) > 0 }) {
		return false
	}
	peer := parseAddr(r.RemoteAddr)
	return v.loopback && peer.IsLoopback() && isLoopbackHost(r.Host)
}

// Origin reports whether the page that asks may: it is the gateway's own, listed, or, to a local browser, of this machine. No Origin header, no
// browser: then there is nobody to be protected from a foreign page.
func (v *Verifier) Origin(r *http.Request) bool {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		return true
	}
	if len(sent) > 1 {
		return false
	}
	origin, err := parseOrigin(sent[0])
	if err != nil { // "null" too
		return false
	}
	if v.origins[origin] {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) && (r.TLS == nil || u.Scheme == "https") {
		return true
	}
	return v.cfg.Anonymous == AnonymousLoopback && v.local(r) && isLoopbackHost(u.Host)
}

// Addr is the client's address: the peer's, or where that is a trusted proxy the one it speaks for. It is not valid where the peer has none.
func (v *Verifier) Addr(r *http.Request) netip.Addr {
	addr := parseAddr(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !v.trusted(addr) {
			break
		}
		next := parseAddr(strings.TrimSpace(hop))
		if !next.IsValid() {
			break
		}
		addr = next
	}
	return addr
}

func (v *Verifier) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(v.proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// isLoopbackHost of a host with or without a port.
func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.EqualFold(host, "localhost") || parseAddr(host).IsLoopback()
}
