package auth_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

// from is a request of a peer; headers are pairs.
func from(peer, target string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = peer
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

const (
	here   = "http://127.0.0.1:8080/v1/ws"
	public = "http://feed.example.com/v1/ws"
)

func TestAnonymousReadersAreOfThisMachine(t *testing.T) {
	f := func(listen, anonymous string, r *http.Request, want bool) {
		t.Helper()
		c := withKey()
		c.Listen, c.Anonymous = listen, anonymous
		g, err := verifier(t, c).Request(r)
		if want && (err != nil || !g.Anonymous || g.Authenticated() || g.Allows(live.Trades, []string{"*"}) != nil) {
			t.Errorf("%s, %s, %s: got %+v, %v", listen, anonymous, r.RemoteAddr, g, err)
		}
		if !want && (err == nil || !auth.Absent(err) || live.AsError(err).Code != live.CodeUnauthorised) {
			t.Errorf("%s, %s, %s: got %+v, %v, want absent", listen, anonymous, r.RemoteAddr, g, err)
		}
	}
	f("127.0.0.1:8080", "loopback", from("127.0.0.1:5000", here), true)
	f("[::1]:8080", "loopback", from("[::1]:5000", "http://[::1]:8080/v1/ws"), true)
	f("localhost:8080", "loopback", from("127.0.0.1:5000", "http://localhost:8080/v1/ws"), true)
	f("127.0.0.1:8080", "loopback", from("[::ffff:127.0.0.1]:5000", here), true)
	f("", "loopback", from("127.0.0.1:5000", here), false)
	f(":8080", "loopback", from("127.0.0.1:5000", here), false)
	f("0.0.0.0:8080", "loopback", from("127.0.0.1:5000", here), false)
	f("127.0.0.1:8080", "loopback", from("10.0.0.1:5000", here), false)
	f("127.0.0.1:8080", "loopback", from("nonsense", here), false)
	f("127.0.0.1:8080", "nobody", from("127.0.0.1:5000", here), false)
	f("0.0.0.0:8080", "everyone", from("10.0.0.1:5000", public), true)
	// Somebody else's name that was pointed at this machine.
	f("127.0.0.1:8080", "loopback", from("127.0.0.1:5000", "http://rebound.example.com:8080/v1/ws"), false)
	// A proxy on this machine speaks for others, whatever it says for whom.
	f("127.0.0.1:8080", "loopback", from("127.0.0.1:5000", here, "X-Forwarded-For", "10.0.0.1"), false)
	f("127.0.0.1:8080", "loopback", from("127.0.0.1:5000", here, "X-Forwarded-For", "127.0.0.1"), false)
	f("127.0.0.1:8080", "loopback", from("127.0.0.1:5000", here, "Forwarded", "for=10.0.0.1"), false)
	f("127.0.0.1:8080", "loopback", from("10.0.0.1:5000", here, "X-Forwarded-For", "127.0.0.1"), false)
}

func TestRequestTakesAToken(t *testing.T) {
	v := verifier(t, withKey())
	token, _, err := v.Mint(auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	g, err := v.Request(from("10.0.0.1:5000", public, "Authorization", "bearer "+token))
	if err != nil || g.Subject != "desk" {
		t.Errorf("got %+v, %v", g, err)
	}
	f := func(what, code, reason string, r *http.Request) {
		t.Helper()
		if _, err := v.Request(r); err == nil || live.AsError(err).Code != code || auth.Reason(err) != reason {
			t.Errorf("%s: got %v", what, err)
		}
	}
	f("basic", live.CodeUnauthorised, auth.ReasonMalformed, from("10.0.0.1:5000", public, "Authorization", "Basic "+token))
	f("empty", live.CodeUnauthorised, auth.ReasonMalformed, from("10.0.0.1:5000", public, "Authorization", "Bearer"))
	f("two", live.CodeBadRequest, "", from("10.0.0.1:5000", public, "Authorization", "Bearer "+token, "Authorization", "Bearer "+token))
	f("and a ticket", live.CodeBadRequest, "", from("10.0.0.1:5000", public+"?ticket=x", "Authorization", "Bearer "+token))
	f("a token in the address", live.CodeUnauthorised, auth.ReasonAbsent, from("10.0.0.1:5000", public+"?token="+token))
	f("a token as a ticket", live.CodeUnauthorised, auth.ReasonMalformed, from("10.0.0.1:5000", public+"?ticket="+token))
	// A token that is wrong makes nobody anonymous.
	c := withKey()
	c.Listen = "127.0.0.1:8080"
	v = verifier(t, c)
	f("wrong on loopback", live.CodeUnauthorised, auth.ReasonMalformed, from("127.0.0.1:5000", here, "Authorization", "Bearer x"))
}

func TestTicketIsGoodOnce(t *testing.T) {
	at := now
	var mu sync.Mutex
	tick := func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); at = at.Add(d) }
	once := auth.NewMemory(tick)
	a, err := auth.New(withKey(), once, tick)
	if err != nil {
		t.Fatal(err)
	}
	b, err := auth.New(withKey(), once, tick)
	if err != nil {
		t.Fatal(err)
	}
	_, g, err := a.Mint(auth.Order{Subject: "desk", Scope: []string{"trades:CORZ"}, TTL: time.Hour, Limits: auth.Limits{Subscriptions: 3}})
	if err != nil {
		t.Fatal(err)
	}
	ticket := func() string {
		s, expires, err := a.Ticket(t.Context(), g)
		if err != nil || !expires.Equal(tick().Add(30*time.Second)) {
			t.Fatalf("got %v, %v", expires, err)
		}
		return s
	}
	redeem := func(v *auth.Verifier, s string) (*auth.Grant, error) {
		return v.Request(from("10.0.0.1:5000", public+"?ticket="+s))
	}

	s := ticket()
	got, err := redeem(b, s)
	if err != nil || got.Subject != "desk" || !got.Expires.Equal(g.Expires) || got.Limits != g.Limits || got.Allows(live.Trades, []string{"*"}) == nil ||
		got.Allows(live.Trades, []string{"CORZ"}) != nil {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, v := range []*auth.Verifier{a, b} {
		if _, err := redeem(v, s); auth.Reason(err) != auth.ReasonUsed {
			t.Errorf("again: got %v", err)
		}
	}
	if _, err := a.Token(ticket()); auth.Reason(err) != auth.ReasonMalformed {
		t.Errorf("a ticket as a token: got %v", err)
	}
	post := from("10.0.0.1:5000", public+"?ticket="+ticket())
	post.Method = http.MethodPost
	if _, err := a.Request(post); err == nil || live.AsError(err).Code != live.CodeBadRequest {
		t.Errorf("a ticket for a ticket: got %v", err)
	}
	s = ticket()
	pass(36 * time.Second)
	if _, err := redeem(a, s); !auth.Expired(err) {
		t.Errorf("late: got %v", err)
	}
	if _, err := redeem(a, "x.y.z"); auth.Reason(err) != auth.ReasonMalformed {
		t.Errorf("nonsense: got %v", err)
	}

	// Of many at the same time one is let in.
	s = ticket()
	var wg sync.WaitGroup
	in := make(chan bool, 16)
	for range cap(in) {
		wg.Go(func() {
			_, err := redeem(b, s)
			in <- err == nil
		})
	}
	wg.Wait()
	close(in)
	count := 0
	for ok := range in {
		if ok {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d of 16 redeemed one ticket", count)
	}

	// A ticket lives no longer than what it was made of.
	pass(g.Expires.Sub(tick()) - 10*time.Second)
	if _, expires, err := a.Ticket(t.Context(), g); err != nil || !expires.Equal(g.Expires) {
		t.Errorf("got %v, %v, want %v", expires, err, g.Expires)
	}
	pass(time.Minute)
	if _, _, err := a.Ticket(t.Context(), g); !auth.Expired(err) {
		t.Errorf("of an expired grant: got %v", err)
	}
	if _, _, err := a.Ticket(t.Context(), auth.Nobody()); !auth.Absent(err) {
		t.Errorf("nobody got a ticket: %v", err)
	}
}

func TestAnonymousTicket(t *testing.T) {
	c := auth.DefaultConfig()
	c.Listen = "127.0.0.1:8080"
	v := verifier(t, c)
	g, err := v.Request(from("127.0.0.1:5000", here))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := v.Ticket(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Request(from("127.0.0.1:5000", here+"?ticket="+s))
	if err != nil || !got.Anonymous || got.Authenticated() || !got.Expires.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	// Another process has another key.
	if _, err := verifier(t, c).Request(from("127.0.0.1:5000", here+"?ticket="+s)); auth.Reason(err) != auth.ReasonForged {
		t.Errorf("elsewhere: got %v", err)
	}
}

type broken struct{}

func (broken) Claim(context.Context, string, time.Time) (bool, error) {
	return true, errors.New("no servers")
}

func TestTicketIsRefusedWhileNobodyKnowsWhatWasRedeemed(t *testing.T) {
	v, err := auth.New(withKey(), broken{}, clock)
	if err != nil {
		t.Fatal(err)
	}
	_, g, err := v.Mint(auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := v.Ticket(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Request(from("10.0.0.1:5000", public+"?ticket="+s))
	if err == nil || live.AsError(err).Code != live.CodeUnavailable || auth.Reason(err) != auth.ReasonStore {
		t.Errorf("got %v", err)
	}
}

func TestOrigin(t *testing.T) {
	f := func(want bool, r *http.Request) {
		t.Helper()
		c := withKey()
		c.Listen, c.Origins = "127.0.0.1:8080", []string{"https://Desk.example.com"}
		if got := verifier(t, c).Origin(r); got != want {
			t.Errorf("%s of %v at %s: got %v", r.RemoteAddr, r.Header["Origin"], r.Host, got)
		}
	}
	secure := func(r *http.Request) *http.Request { r.TLS = &tls.ConnectionState{}; return r }
	f(true, from("10.0.0.1:5000", public))
	f(true, from("10.0.0.1:5000", public, "Origin", "http://feed.example.com"))
	f(true, from("10.0.0.1:5000", public, "Origin", "https://feed.example.com")) // TLS ends at a proxy
	f(true, from("10.0.0.1:5000", public, "Origin", "https://desk.example.com"))
	f(false, secure(from("10.0.0.1:5000", public, "Origin", "http://feed.example.com")))
	f(true, secure(from("10.0.0.1:5000", public, "Origin", "https://feed.example.com")))
	f(false, from("10.0.0.1:5000", public, "Origin", "http://desk.example.com"))
	f(false, from("10.0.0.1:5000", public, "Origin", "https://desk.example.com:8443"))
	f(false, from("10.0.0.1:5000", public, "Origin", "https://desk.example.com.evil.com"))
	f(false, from("10.0.0.1:5000", public, "Origin", "https://evil.com/desk.example.com"))
	f(false, from("10.0.0.1:5000", public, "Origin", "https://user@feed.example.com"))
	f(false, from("10.0.0.1:5000", public, "Origin", "null"))
	f(false, from("10.0.0.1:5000", public, "Origin", ""))
	f(false, from("10.0.0.1:5000", public, "Origin", "file://"))
	f(false, from("10.0.0.1:5000", public, "Origin", "http://feed.example.com", "Origin", "http://evil.com"))
	f(true, from("127.0.0.1:5000", here, "Origin", "http://localhost:5173"))
	f(true, from("127.0.0.1:5000", here, "Origin", "http://[::1]:5173"))
	f(false, from("127.0.0.1:5000", here, "Origin", "http://localhost.evil.com"))
	f(false, from("127.0.0.1:5000", here, "Origin", "https://evil.com"))
	f(false, from("10.0.0.1:5000", public, "Origin", "http://localhost:5173"))
}

func TestAddr(t *testing.T) {
	c := withKey()
	c.TrustedProxies = []string{"10.1.0.0/16", "::1"}
	v := verifier(t, c)
	f := func(want string, r *http.Request) {
		t.Helper()
		if got := v.Addr(r).String(); got != want {
			t.Errorf("%s for %v: got %s, want %s", r.RemoteAddr, r.Header["X-Forwarded-For"], got, want)
		}
	}
	f("192.0.2.1", from("192.0.2.1:5000", public))
	f("192.0.2.1", from("[::ffff:192.0.2.1]:5000", public))
	f("192.0.2.1", from("192.0.2.1:5000", public, "X-Forwarded-For", "203.0.113.9"))
	f("203.0.113.9", from("10.1.2.3:5000", public, "X-Forwarded-For", "203.0.113.9"))
	f("203.0.113.9", from("10.1.2.3:5000", public, "X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.1.9.9"))
	f("203.0.113.9", from("[::1]:5000", public, "X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.9"))
	f("10.1.2.3", from("10.1.2.3:5000", public, "X-Forwarded-For", "unknown"))
	f("10.1.2.3", from("10.1.2.3:5000", public))
	f("invalid IP", from("@", public))
}

func FuzzToken(f *testing.F) {
	v, err := auth.New(withKey(), nil, clock)
	if err != nil {
		f.Fatal(err)
	}
	// The same in each of the fuzzer's processes: a minted one has an id of its own.
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, good()).SignedString([]byte(secret))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{token, "", "...", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.bnVsbA.x", "bnVsbA.bnVsbA.bnVsbA", "e30.e30.e30"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := v.Token(s)
		if (g == nil) == (err == nil) {
			t.Fatalf("got %v, %v", g, err)
		}
		if err == nil && s != token {
			t.Fatalf("forged: %s", s)
		}
		if err != nil && (live.AsError(err).Code != live.CodeUnauthorised || auth.Reason(err) == "") {
			t.Fatalf("got %v", err)
		}
	})
}
