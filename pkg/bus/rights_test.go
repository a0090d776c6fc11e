package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// guarded is a server with a user for each duty, whose password is its name, that speaks either form of the subjects of acknowledgements and flow control.
func guarded(t *testing.T, newForm bool) (url string) {
	t.Helper()
	if !newForm {
		cfg := bus.DefaultServerConfig()
		cfg.Addr, cfg.DataDir, cfg.Users = "127.0.0.1:0", t.TempDir(), map[string]bus.Login{}
		for _, d := range bus.Duties() {
			cfg.Users[d.User] = bus.Login{Password: run.Secret(d.User)}
		}
		srv, err := bus.StartServer(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(srv.Close)
		// This process is not one of the users, and may do everything.
		own, err := bus.Connect(bus.DefaultConfig(), srv, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		if err := own.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		return srv.URL()
	}
	// The same from the configuration that is printed for a server of one's own.
	var conf bytes.Buffer
	fmt.Fprintf(&conf, "listen: \"127.0.0.1:-1\"\nfeature_flags { js_ack_fc_v2: true }\njetstream { store_dir: %q, max_file_store: 1TB }\n", t.TempDir())
	if err := bus.WriteUsers(&conf, func(user string) string { return fmt.Sprintf("user: %q\n      password: %q", user, user) }); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, conf.Bytes(), 0o600); err != nil {
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
	return ns.ClientURL()
}

func connectAs(t *testing.T, url, user string, log *slog.Logger) *bus.Bus {
	t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.User, cfg.Password = url, user, run.Secret(user)
	b, err := bus.Connect(cfg, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// TestEveryDutyCanBeDone: each user may do all that its service does, by the calls that the service makes, and the server has nothing to complain of; whether it gets
// its users from the configuration that is printed, and speaks the new form of subjects, or is the embedded one, with the old.
func TestEveryDutyCanBeDone(t *testing.T) {
	for form, users := range map[bool][]string{true: nil, false: {"migrate", "lander", "nightly"}} {
		t.Run(fmt.Sprintf("new_form_%v", form), func(t *testing.T) {
			t.Parallel()
			url := guarded(t, form)
			do := func(t *testing.T, d bus.Duty) {
				var log bytes.Buffer
				b := connectAs(t, url, d.User, slog.New(slog.NewTextHandler(&log, nil)))
				if err := doAll(t.Context(), b, d); err != nil {
					t.Error(err)
				}
				b.Close()
				if strings.Contains(log.String(), "level=WARN") {
					t.Error(log.String())
				}
			}
			for i, d := range bus.Duties() {
				if users != nil && !slices.Contains(users, d.User) {
					continue
				}
				t.Run(d.User, func(t *testing.T) {
					if i > 0 { // the first declares the streams for the others
						t.Parallel()
					}
					do(t, d)
				})
			}
		})
	}
}

// doAll does what the duty says.
func doAll(ctx context.Context, b *bus.Bus, d bus.Duty) error {
	if err := b.Ensure(ctx, d.Streams()...); err != nil {
		return err
	}
	if d.Declares {
		if _, err := b.Cell("mode").Swap(ctx, []byte("live"), 0); err != nil && !errors.Is(err, bus.ErrConflict) {
			return err
		}
	}
	if was, _, err := b.Cell("mode").Get(ctx); err != nil || string(was) != "live" {
		return fmt.Errorf("mode %q, %w", was, err)
	}
	if len(d.Copies) > 0 {
		dir, err := os.MkdirTemp("", "copies")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		for _, s := range d.Copies {
			if _, err := b.Snapshot(ctx, s, filepath.Join(dir, string(s))); err != nil {
				return err
			}
		}
	}
	p := b.NewPublisher(bus.PublisherConfig{})
	at := time.Date(2026, 11, 3, 14, 30, 0, 0, time.UTC)
	for _, s := range d.Publishes {
		if s == market.Dead {
			continue
		}
		if err := p.Publish(ctx, sample(s, d.User, at)); err != nil {
			return err
		}
	}
	if d.Rejects {
		if err := p.Publish(ctx, sample(market.Dead, d.User, at)); err != nil {
			return err
		}
	}
	// What a publisher asks when an acknowledgement was lost, of each of its streams.
	for _, s := range d.Publishes {
		if s != market.Dead {
			if _, err := bus.StoredUnder(b, ctx, s, bus.Subject(sample(s, d.User, at)), "x"); err != nil {
				return fmt.Errorf("look for a message in %s: %w", s, err)
			}
		}
	}
	if d.Rejects {
		if _, err := bus.StoredUnder(b, ctx, market.Dead, bus.Subject(sample(market.Dead, d.User, at)), "x"); err != nil {
			return fmt.Errorf("look for a letter: %w", err)
		}
	}
	if d.Buries {
		for _, s := range market.Streams() {
			letter := sample(market.Dead, d.User, at).(*market.DeadLetter)
			letter.Of, letter.Seq = string(s), 7
			if err := b.PublishOnce(ctx, letter); err != nil {
				return err
			}
		}
	}
	end, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.Close(end); err != nil {
		return err
	}
	for _, s := range d.Reads {
		if err := readAll(ctx, b, s); err != nil {
			return fmt.Errorf("read %s: %w", s, err)
		}
	}
	if d.Examines {
		if _, err := b.AskHealth(ctx, time.Millisecond, 50*time.Millisecond, func([][]byte) bool { return true }); err != nil {
			return err
		}
		if _, err := b.Storage(ctx); err != nil {
			return err
		}
	}
	if s, err := b.Server(ctx); err != nil || len(b.Lacks(s.Permissions, d.User)) > 0 {
		return fmt.Errorf("our rights: lacking %v of %+v, %w", b.Lacks(s.Permissions, d.User), s.Permissions, err)
	}
	return doRecords(ctx, b, d)
}

// readAll reads a stream in every way that there is.
func readAll(ctx context.Context, b *bus.Bus, s market.Stream) error {
	info, err := b.Info(ctx, s)
	if err != nil {
		return err
	}
	seen := 0
	count := func(bus.Msg) error { seen++; return nil }
	if err := errors.Join(
		b.ScanAll(ctx, s, count), b.Latest(ctx, s, count),
		b.Replay(ctx, s, "x", time.Time{}, func(market.Event, market.Place) error { return nil }),
		b.Replay(ctx, s, "", time.Time{}, func(market.Event, market.Place) error { return nil }, "*", "*"),
	); err != nil {
		return err
	}
	if info.Messages > 0 && seen == 0 {
		return errors.New("no message came")
	}
	if _, _, err := b.SeqBefore(ctx, s, time.Now().Add(-time.Hour)); err != nil {
		return err
	}
	if info.LastSeq > 0 {
		if _, err := b.Get(ctx, s, info.LastSeq); err != nil {
			return err
		}
	}
	r, err := b.Tail(ctx, s)
	if err != nil {
		return err
	}
	r.Close()
	return nil
}

func doRecords(ctx context.Context, b *bus.Bus, d bus.Duty) error {
	for _, c := range d.Changes {
		lease, ok := strings.CutPrefix(c, "lease.")
		if !ok {
			continue
		}
		lease = strings.Replace(lease, "*", "any", 1)
		held := false
		hold, stop := context.WithCancel(ctx)
		err := b.Lease(lease, "test", time.Second).Hold(hold, func(context.Context) error { held = true; return nil })
		stop()
		if err != nil || !held {
			return fmt.Errorf("lease %s: held %v, %w", lease, held, err)
		}
	}
	if d.Asks {
		for _, s := range d.Reads {
			if _, _, err := b.NextStored(ctx, s, bus.Shard{}, 1); err != nil {
				return err
			}
			if _, err := b.ShardsKnown(ctx, s); err != nil {
				return err
			}
		}
	}
	if slices.Contains(d.Changes, "lander.>") || slices.Contains(d.Looks, "lander.>") {
		if _, _, err := b.Landing(ctx, market.Trades); err != nil {
			return err
		}
	}
	if slices.Contains(d.Changes, "lander.>") {
		for _, shard := range []bus.Shard{{}, {Of: 4, Index: 2}} {
			cell := b.Cell(bus.LandingKey(market.Trades, shard))
			_, rev, err := cell.Get(ctx)
			if err != nil {
				return err
			}
			if _, err := cell.Swap(ctx, []byte(`{"by":"`+d.User+`"}`), rev); err != nil {
				return err
			}
		}
	}
	if slices.Contains(d.Changes, "roster.lander.*") {
		r := b.Roster("lander", "test", "", time.Second, nil)
		if err := r.Renew(ctx); err != nil {
			return err
		}
		if members, err := r.Members(ctx); err != nil || len(members) != 1 {
			return fmt.Errorf("members %v, %w", members, err)
		}
		if err := r.Leave(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(d.Looks, "lease.*") {
		if holders, err := b.Holders(ctx); err != nil {
			return fmt.Errorf("holders %v, %w", holders, err)
		}
	}
	if d.Claims {
		if first, err := b.Claim(ctx, "ticket-"+d.User, time.Now().Add(time.Minute)); err != nil || !first {
			return fmt.Errorf("claim: %v, %w", first, err)
		}
	}
	return nil
}

// TestNobodyMayMore: every user tries everything that there is, as any client could, and is refused whatever is not its own.
func TestNobodyMayMore(t *testing.T) {
	t.Parallel()
	url := guarded(t, false)
	for _, d := range bus.Duties() {
		allowed := bustest.May(d.User)
		got := bustest.Trespass(t, url, d.User, nil, nats.UserInfo(d.User, d.User))
		for what, refused := range got {
			if slices.Contains(allowed, what) == refused {
				t.Errorf("%s: %s: refused %v", d.User, what, refused)
			}
		}
		for _, what := range allowed {
			if _, tried := got[what]; !tried {
				t.Errorf("%s: %s was not tried", d.User, what)
			}
		}
	}
}

// sample is an event of a stream.
func sample(s market.Stream, source string, at time.Time) market.Event {
	m := market.Meta{Source: source, EventTime: at, RecvTime: at}
	switch s {
	case market.Trades:
		return &market.Trade{Meta: m, Symbol: "TEST"}
	case market.Quotes:
		return &market.Quote{Meta: m, Symbol: "TEST"}
	case market.Bars:
		return &market.Bar{Meta: m, Symbol: "TEST", Interval: market.Interval1m}
	case market.Halts:
		return &market.Halt{Meta: m, Symbol: "TEST"}
	case market.Network:
		return &market.Block{Meta: m}
	case market.Hashprices:
		return &market.Hashprice{Meta: m, Method: "tip144"}
	case market.Offers:
		return &market.Offer{Meta: m, Provider: "x", GPU: "y"}
	case market.Rates:
		return &market.Rate{Meta: m, GPU: "y", Class: market.OnDemand}
	case market.Signals:
		return &market.Signal{Meta: m, Name: "x", Symbol: "TEST"}
	case market.Feeds:
		return &market.FeedEvent{Meta: m, State: market.FeedConnected}
	}
	return &market.DeadLetter{Meta: m, Of: market.Upstream, Reason: "test", Payload: []byte("x"), PayloadBytes: 1}
}
