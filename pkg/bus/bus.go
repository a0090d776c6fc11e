// Package bus is NATS JetStream as hashpivot uses it: the streams, declared once; the publisher; readers; compare-and-swap cells. It is the
// only importer of nats.go and of nats-server.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// maxPayload bounds a message; batches are cut well below it.
const maxPayload = 1 << 20

// Headers of our messages, beside Nats-Msg-Id.
const (
	headerEvents  = "Hashpivot-Events" // number of events in the batch
	headerContent = "Content-Type"
	// headerClock is on messages of publishers whose own clock, and with it the stream's, counts in whole microseconds. Messages that were stored before there was
	// this header keep the nanoseconds with which they may have landed.
	headerClock = "Hashpivot-Clock"
	clockMicros = "us"
)

// Config of a connection to NATS.
type Config struct {
	// URL of the cluster, comma-separated; empty where the server is embedded.
	URL string `koanf:"url"`
	// One of: user and password, token, a credentials file, an nkey seed file. Beside the latter two User is only a name, for the inbox.
	User      string     `koanf:"user"`
	Password  run.Secret `koanf:"password"`
	Token     run.Secret `koanf:"token"`
	CredsFile string     `koanf:"creds_file"`
	NKeyFile  string     `koanf:"nkey_file"`
	// CAFile holds the authorities that are trusted, for TLS; empty: the system's. CertFile and KeyFile are our own certificate, for servers that ask for one.
	CAFile   string `koanf:"ca_file"`
	CertFile string `koanf:"cert_file"`
	KeyFile  string `koanf:"key_file"`
	// InboxPrefix begins the subjects on which answers come; empty: see Config.inbox.
	InboxPrefix string `koanf:"inbox_prefix"`
	// Replicas of each stream.
	Replicas int `koanf:"replicas"`
	// MaxBytes of each stream; a full stream refuses.
	MaxBytes int64 `koanf:"max_bytes"`
	// MaxAge of trades and quotes in their streams; must be longer than the longest outage of ClickHouse.
	MaxAge time.Duration `koanf:"max_age"`
	// Retention bounds the age of messages in single streams, in place of MaxAge or of no bound.
	Retention map[market.Stream]time.Duration `koanf:"retention"`
	// Shards cuts streams, by name, into so many parts, which landers share. Every process that declares the streams must be told the same.
	Shards map[market.Stream]int `koanf:"shards"`
	// LookOnly is for commands that only look: what is not there is not made, and what differs is not changed.
	LookOnly bool `koanf:"-"`
}

// DefaultConfig is for one server.
func DefaultConfig() Config {
	return Config{Replicas: 1, MaxBytes: 16 << 30, MaxAge: 30 * 24 * time.Hour}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	for u := range strings.SplitSeq(c.URL, ",") {
		if u == "" {
			continue
		}
		p, err := url.Parse(strings.TrimSpace(u))
		if err != nil || p.Host == "" {
			return errors.New("nats.url: is not a URL such as nats://host:4222 (it is not repeated here, it may hold a password)")
		}
		if p.User != nil {
			return errors.New("nats.url: holds a user, and so would be printed with its password; put them into nats.user and nats.password")
		}
		switch p.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("nats.url: scheme %q is not one of nats, tls, ws, wss", p.Scheme)
		}
	}
	if err := c.tls().Validate(); err != nil {
		return err
	}
	if strings.ContainsAny(c.InboxPrefix, "*> \t") || strings.HasSuffix(c.InboxPrefix, ".") {
		return fmt.Errorf("nats.inbox_prefix: %.64q is no prefix of a subject such as _INBOX_equities", c.InboxPrefix)
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return fmt.Errorf("nats.replicas: %d is not from 1 to 5", c.Replicas)
	}
	if c.MaxBytes < 1<<20 {
		return fmt.Errorf("nats.max_bytes: %d is less than 1 MiB", c.MaxBytes)
	}
	if c.MaxAge < time.Hour {
		return fmt.Errorf("nats.max_age: %s is less than an hour", c.MaxAge)
	}
	for stream, age := range c.Retention {
		if !slices.Contains(market.Streams(), stream) {
			return fmt.Errorf("nats.retention: there is no stream %.40q; the streams are %v", stream, market.Streams())
		}
		if age < time.Hour {
			return fmt.Errorf("nats.retention.%s: %s is less than an hour", stream, age)
		}
	}
	for stream, n := range c.Shards {
		if !Cuttable(stream) {
			return fmt.Errorf("nats.shards: %q is not a stream that can be cut; its subjects must be of one pattern that ends with a symbol, such as those of TRADES", stream)
		}
		if n < 1 || n > MaxShards {
			return fmt.Errorf("nats.shards: %d shards of %s are not from 1 to %d", n, stream, MaxShards)
		}
	}
	return nil
}

// Bus is a connection to NATS. It lives through the server's restarts.
type Bus struct {
	cfg Config
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger

	denied denials

	mu sync.Mutex
	kv jetstream.KeyValue

	watched atomic.Pointer[instruments]
}

// instruments are who watches a bus.
type instruments struct {
	metrics *Metrics
	tracer  trace.Tracer // nil: off
}

// pingInterval and two answers that are missing tell a connection that is mute from one that is quiet: within a quarter of a minute. The client's own two
// minutes let a publisher stand still for six when a firewall had forgotten its connection.
const pingInterval = 5 * time.Second

// Connect connects to cfg.URL, or in-process to the embedded server if one is given.
func Connect(cfg Config, embedded *Server, log *slog.Logger) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Bus{log: log}
	b.watched.Store(&instruments{metrics: NewMetrics(nil)})
	opts := []nats.Option{
		nats.Name("hashpivot"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.Timeout(5 * time.Second), nats.RetryOnFailedConnect(false), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		// A password that is changed on the server first, or a certificate that is renewed late, must not end us for good.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			m := b.watched.Load().metrics
			m.link(false)
			if err != nil {
				m.disconnects.Inc()
				log.Warn("connection to NATS lost, reconnecting", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			b.watched.Load().metrics.link(true)
			log.Info("connected to NATS again")
		}),
		nats.ReconnectErrHandler(b.notBack()),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.reported(err) }),
	}
	target := cfg.URL
	if embedded != nil {
		opts = append(opts, nats.InProcessServer(embedded.ns))
		target = ""
		// Within a process there is neither TLS nor a user of the configuration's, which is that of commands beside it.
		cfg.CAFile, cfg.CertFile, cfg.KeyFile, cfg.CredsFile, cfg.NKeyFile, cfg.Token = "", "", "", "", "", ""
		cfg.User, cfg.Password = embedded.user, embedded.password
	} else if target == "" {
		return nil, errors.New("connect to NATS: nats.url is empty and no server is embedded; set nats.url")
	}
	b.cfg = cfg
	who, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(target, append(opts, who...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", cfg.explain(err))
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(10*time.Second))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	b.nc, b.js = nc, js
	return b, nil
}

// Instrument has metrics kept, and with a tracer the batches of publishers traced. It is for right after Connect.
func (b *Bus) Instrument(m *Metrics, tracer trace.Tracer) {
	b.watched.Store(&instruments{m, tracer})
	m.link(b.nc.IsConnected())
}

// Close closes the connection. Publishers must be closed before.
func (b *Bus) Close() { b.nc.Close() }

// Connected reports whether the connection is up now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Replay implements feed.History.
func (b *Bus) Replay(ctx context.Context, stream market.Stream, source string, since time.Time, fn func(market.Event, market.Place) error, tokens ...string) error {
	filter := sourceFilter(stream, source)
	if len(tokens) > 0 {
		filter = []string{tokenFilter(stream, tokens)}
	}
	return b.scan(ctx, stream, scanFrom{filter: filter, since: since}, func(m Msg) error {
		// What does not decode gives no events: the lander dead-letters it, and there is nothing to restore from it.
		events, _ := wire.Decode(stream, m.Data)
		for i, ev := range events {
			if source != "" && ev.GetMeta().Source != source {
				continue
			}
			if err := fn(ev, market.Place{Stream: stream, Seq: m.Seq, Idx: uint32(i), StreamTime: m.StreamTime()}); err != nil {
				return err
			}
		}
		return nil
	})
}
