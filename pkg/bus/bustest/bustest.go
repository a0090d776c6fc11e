// Package bustest starts a real nats-server for tests and does to it what only a stranger would.
package bustest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Start runs a server in a temporary directory until the test ends, and a connection to it with the streams declared.
func Start(t testing.TB) (*bus.Server, *bus.Bus) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	srv, err := bus.StartServer(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	b, err := bus.Connect(bus.DefaultConfig(), srv, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return srv, b
}

// Configured runs a nats-server of the test's own configuration, which listens where it likes and keeps its streams in dir, and returns its URL and that of its
// monitoring, if it has any.
func Configured(t testing.TB, conf, dir string) (url, monitor string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.JetStream, opts.StoreDir, opts.NoSigs, opts.NoLog = true, dir, true, true
	if opts.Port == 0 {
		opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the nats-server is not ready")
	}
	if addr := ns.MonitorAddr(); addr != nil {
		monitor = "http://" + addr.String()
	}
	return ns.ClientURL(), monitor
}

// Alter changes the configuration of a stream behind our back.
func Alter(t testing.TB, srv *bus.Server, stream market.Stream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error {
		s, err := js.Stream(t.Context(), string(stream))
		if err != nil {
			return err
		}
		cfg := s.CachedInfo().Config
		change(&cfg)
		_, err = js.UpdateStream(t.Context(), cfg)
		return err
	})
}

// Foreign publishes bytes that are not ours.
func Foreign(t testing.TB, srv *bus.Server, subject string, data []byte) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error {
		_, err := js.Publish(t.Context(), subject, data)
		return err
	})
}

// DeleteStream deletes a stream with all that it holds.
func DeleteStream(t testing.TB, srv *bus.Server, stream market.Stream) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error { return js.DeleteStream(t.Context(), string(stream)) })
}

// DeleteMessage deletes one message, which leaves a hole in the sequences.
func DeleteMessage(t testing.TB, srv *bus.Server, stream market.Stream, seq uint64) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error {
		s, err := js.Stream(t.Context(), string(stream))
		if err != nil {
			return err
		}
		return s.DeleteMsg(t.Context(), seq)
	})
}

// Purge removes all messages before the sequence, as age does.
func Purge(t testing.TB, srv Server, stream market.Stream, seq uint64) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error {
		s, err := js.Stream(t.Context(), string(stream))
		if err != nil {
			return err
		}
		return s.Purge(t.Context(), jetstream.WithPurgeSequence(seq))
	})
}

// LoseCell forgets that a cell was ever written.
func LoseCell(t testing.TB, srv *bus.Server, key string) {
	t.Helper()
	withJetStream(t, srv, func(js jetstream.JetStream) error {
		s, err := js.Stream(t.Context(), "KV_hashpivot")
		if err != nil {
			return err
		}
		return s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.hashpivot."+key))
	})
}

// Server is where a server is: a *bus.Server, or one that is Configured.
type Server interface{ URL() string }

// At is the server at a URL.
type At string

// URL implements Server.
func (a At) URL() string { return string(a) }

func withJetStream(t testing.TB, srv Server, do func(jetstream.JetStream) error) {
	t.Helper()
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(js); err != nil {
		t.Fatal(err)
	}
}
