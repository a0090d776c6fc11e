package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// serve runs nats-server with a configuration, without JetStream.
func serve(t *testing.T, conf string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "listen: \"127.0.0.1:-1\"\n"+conf, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server is not ready")
	}
	return ns.Addr().String()
}

// TestConnectSaysWhatIsWrong: the server is nats-server with what an operator could give it, and the sentence says what to do.
func TestConnectSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	a, stranger := certstest.New(t), certstest.New(t)
	tls := func(a *certstest.Authority, o certstest.Order, more string) string {
		cert, key := a.Issue(o)
		return fmt.Sprintf("tls { cert_file: %q, key_file: %q%s }\n", cert, key, more)
	}
	cert, key := a.Issue(certstest.Order{})
	right := serve(t, tls(a, certstest.Order{}, ""))
	mutual := serve(t, tls(a, certstest.Order{}, fmt.Sprintf(", verify: true, ca_file: %q", a.File)))
	plain := serve(t, "authorization { users: [{user: lander, password: sesame}] }")
	for _, x := range []struct {
		name, url string
		set       func(*bus.Config)
		want      string // empty: it works
	}{
		{"right", "tls://" + right, nil, ""},
		{"TLS is taken where the server wants it", "nats://" + right, nil, ""},
		{"mutual", "tls://" + mutual, func(c *bus.Config) { c.CertFile, c.KeyFile = cert, key }, ""},
		{"expired", "tls://" + serve(t, tls(a, certstest.Order{To: time.Now().Add(-time.Minute)}, "")), nil, "renew it on the server"},
		{"not yet valid", "tls://" + serve(t, tls(a, certstest.Order{From: time.Now().Add(time.Hour)}, "")), nil, "clocks"},
		{"another name", "tls://" + serve(t, tls(a, certstest.Order{Names: []string{"nats.example.com"}}, "")), nil, "not for 127.0.0.1: connect by a name that it is for (nats.example.com)"},
		{"another authority", "tls://" + serve(t, tls(stranger, certstest.Order{}, "")), nil, "set nats.ca_file"},
		{"no certificate of ours", "tls://" + mutual, nil, "set nats.cert_file and nats.key_file"},
		{"the server offers none", "tls://" + plain, func(c *bus.Config) { c.User, c.Password = "lander", "sesame" }, "the server offers none"},
		{"wrong password", "nats://" + plain, func(c *bus.Config) { c.CAFile, c.User, c.Password = "", "lander", "guess" }, "look at nats.user and nats.password"},
		{"nobody", "nats://" + plain, func(c *bus.Config) { c.CAFile = "" }, "look at nats.user and nats.password"},
		{"no server", "nats://127.0.0.1:1", func(c *bus.Config) { c.CAFile = "" }, "is the server running at nats.url?"},
		{"no such file", "tls://" + right, func(c *bus.Config) { c.CAFile += "x" }, "nats.ca_file: "},
		{"a key that is no seed", "tls://" + right, func(c *bus.Config) { c.NKeyFile = key }, "nats.nkey_file"},
	} {
		cfg := bus.DefaultConfig()
		cfg.URL, cfg.CAFile = x.url, a.File
		if x.set != nil {
			x.set(&cfg)
		}
		b, err := bus.Connect(cfg, nil, quiet)
		if err == nil {
			b.Close()
		}
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%s: %v", x.name, err)
		case x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		case err != nil && (strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), "sesame")):
			t.Errorf("%s: the password is told: %v", x.name, err)
		}
	}
	cfg := bus.DefaultConfig()
	cfg.URL = "nats://lander:sesame@127.0.0.1:4222"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "nats.password") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a password in the URL: %v", err)
	}
}

// TestEmbeddedServerWithTLS: others speak TLS and show who they are, by password or nkey; a renewed certificate counts without a restart.
func TestEmbeddedServerWithTLS(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue(certstest.Order{Name: "server"})
	seed := filepath.Join(t.TempDir(), "gateway.nk")
	public, err := bus.NKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := bus.NKey(seed); err != nil || again != public {
		t.Errorf("a key that is there was made anew: %s, %v", again, err)
	}
	if info, err := os.Stat(seed); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir, cfg.TLS = "127.0.0.1:0", t.TempDir(), certs.Server{Section: "nats", CertFile: cert, KeyFile: key}
	cfg.Users = map[string]bus.Login{"lander": {Password: "sesame"}, "gateway": {NKey: public}}
	srv, err := bus.StartServer(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	own, err := bus.Connect(bus.DefaultConfig(), srv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if err := own.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	as := func(user string, set func(*bus.Config)) error {
		c := bus.DefaultConfig()
		c.URL, c.User, c.CAFile = strings.Replace(srv.URL(), "nats://", "tls://", 1), user, a.File
		set(&c)
		b, err := bus.Connect(c, nil, quiet)
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = b.Info(t.Context(), market.Trades)
		return err
	}
	if err := errors.Join(
		as("lander", func(c *bus.Config) { c.Password = "sesame" }),
		as("gateway", func(c *bus.Config) { c.NKeyFile = seed }),
	); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		as("lander", func(c *bus.Config) { c.Password = "guess" }),
		as("gateway", func(c *bus.Config) { c.Password = "sesame" }),
		as("hashpivot", func(c *bus.Config) { c.Password = "" }), // the process's own, and only from within it
		as("", func(*bus.Config) {}),
	} {
		if err == nil || !strings.Contains(err.Error(), "the server does not know us") {
			t.Errorf("let in: %v", err)
		}
	}
	// Renewed by another authority, which alone is trusted from now on.
	b := certstest.New(t)
	newCert, newKey := b.Issue(certstest.Order{})
	for from, to := range map[string]string{newKey: key, newCert: cert} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the renewed certificate is served", func() bool {
		return as("lander", func(c *bus.Config) { c.Password, c.CAFile = "sesame", b.File }) == nil
	})
	// Nonsense is refused before it starts.
	for _, x := range []struct {
		users map[string]bus.Login
		tls   certs.Server
		want  string
	}{
		{map[string]bus.Login{"quant": {Password: "x"}}, certs.Server{}, "is none of the users"},
		{map[string]bus.Login{"lander": {}}, certs.Server{}, "give one of password and nkey"},
		{map[string]bus.Login{"lander": {NKey: "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4"}}, certs.Server{}, "is not the public key of a user"},
		{nil, certs.Server{Section: "nats", CertFile: cert}, "nats.tls_key"},
		{nil, certs.Server{Section: "nats", CertFile: cert, KeyFile: a.File}, "nats"},
	} {
		bad := cfg
		bad.DataDir, bad.Users, bad.TLS = t.TempDir(), x.users, x.tls
		if s, err := bus.StartServer(bad, quiet); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("started: %v, want %q", err, x.want)
			if err == nil {
				s.Close()
			}
		}
	}
}

// TestRefusalIsSaidAtOnce: who may not declare a stream that is missing or differs is told so, and what to do, before any request times out; and so is who
// publishes what it may not.
func TestRefusalIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir, cfg.Users = "127.0.0.1:0", t.TempDir(), map[string]bus.Login{"gpurates": {Password: "x"}, "ops": {Password: "x"}}
	srv, err := bus.StartServer(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	var mu sync.Mutex
	var log bytes.Buffer
	connect := func(user string, replicas int) *bus.Bus {
		t.Helper()
		c := bus.DefaultConfig()
		c.URL, c.User, c.Password, c.Replicas = srv.URL(), user, "x", replicas
		b, err := bus.Connect(c, nil, slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	offers := bus.Duties()[3]
	b := connect("gpurates", 1)
	refused := func(what string, err error, want string) {
		t.Helper()
		if _, ok := errors.AsType[*bus.DeniedError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	begin := time.Now()
	refused("no stream", b.Ensure(t.Context(), offers.Streams()...), "it is not there, and we may not declare it: run hashpivot migrate")
	own, err := bus.Connect(bus.DefaultConfig(), srv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if err := own.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Ensure(t.Context(), offers.Streams()...); err != nil {
		t.Errorf("all is there: %v", err)
	}
	refused("another declaration", connect("gpurates", 3).Ensure(t.Context(), offers.Streams()...), "it is declared otherwise: replicas is 1, not 3")
	_, err = b.Info(t.Context(), market.Trades)
	refused("another stream", err, "STREAM.INFO.TRADES")
	_, err = b.Read(t.Context(), market.Trades, 1)
	refused("reading another stream", err, "CONSUMER.CREATE.TRADES")
	_, _, err = b.Cell("lander.TRADES").Get(t.Context())
	refused("another's cell", err, "KV_hashpivot.$KV.hashpivot.lander.TRADES")
	_, err = b.Cell("mode").Swap(t.Context(), []byte("live"), 0)
	refused("a cell that is only read", err, "$KV.hashpivot.mode")
	_, _, err = b.NextStored(t.Context(), market.Offers, bus.Shard{}, 1)
	refused("asking the leader", err, "STREAM.MSG.GET.OFFERS")
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("the refusals took %s: they were waited for", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := b.NewPublisher(bus.PublisherConfig{})
	if err := p.Publish(ctx, sample(market.Trades, "x", at)); err != nil {
		t.Fatal(err)
	}
	until(t, "a publisher that may not publish says so", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(log.String(), "publish will be retried") && strings.Contains(log.String(), "give the user its rights")
	})
	cancel()
	if err := p.Close(ctx); err == nil {
		t.Error("what could not be published was stored")
	}
}

// until asks again and again: what it waits for happens beside us.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// TestWhatRightsDoNotStop holds SECURITY.md to the truth: subjects of requests are checked, subjects of answers are not. Who may ask JetStream anything may have the
// answer sent where it may not publish itself, into another stream too.
func TestWhatRightsDoNotStop(t *testing.T) {
	t.Parallel()
	url := guarded(t, false)
	nc, err := nats.Connect(url, nats.UserInfo("gpurates", "gpurates"), nats.CustomInboxPrefix("_INBOX_gpurates"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ops := connectAs(t, url, "ops", quiet)
	if err := nc.Publish("md.v1.trade.x.TEST", []byte("direct")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("md.v1.gpu.offer.x.y", []byte("anything"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET.OFFERS", "md.v1.trade.x.TEST", []byte(`{"seq":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	r, err := ops.Read(t.Context(), market.Trades, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := r.Next(ctx)
	if err != nil {
		t.Fatalf("an answer no longer goes where its asker says: SECURITY.md may say so (%v)", err)
	}
	if string(m.Data) != "anything" {
		t.Errorf("TRADES has %q: it was published directly, which is refused", m.Data)
	}
}
