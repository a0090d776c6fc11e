package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/backup"
	"github.com/hashpivot/hashpivot/services/lander"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }

// site is a NATS and a ClickHouse.
type site struct {
	nats   *bus.Server
	bus    *bus.Bus
	store  *store.Store
	engine *chembed.Server
}

func (s site) deps(t *testing.T) backup.Deps {
	return backup.Deps{Bus: s.bus, Store: s.store, Logger: chembedtest.Logger(t), Version: "test"}
}

// allow lets an engine write backups there.
func allow(dir string) chembedtest.Option {
	return func(c *chembed.Config) { c.ServerSettings = map[string]string{"backups.allowed_path": dir} }
}

// land runs a lander until everything has landed, and audits.
func (s site) land(t *testing.T) audit.Result {
	t.Helper()
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: s.bus, Store: s.store, Logger: chembedtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	if err := l.Drained(ctx); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	res, err := audit.Run(t.Context(), audit.Deps{Bus: s.bus, Store: s.store, Logger: chembedtest.Logger(t)}, audit.Order{Record: true, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (s site) publish(t *testing.T, from, n int) {
	t.Helper()
	pub := s.bus.NewPublisher(bus.PublisherConfig{})
	defer func() {
		if err := pub.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	at := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	for i := from; i < from+n; i++ {
		now := at.Add(time.Duration(i) * time.Millisecond)
		err := pub.Publish(t.Context(), &market.Trade{
			Meta: market.Meta{Source: "alpaca", EventTime: now, RecvTime: now}, Action: market.TradeNew, Symbol: "CORZ", ID: time.Duration(i).String(),
			PriceUSD: market.MustDecimal("14.23"), SizeShares: market.MustDecimal("100"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s site) rows(t *testing.T, sql string) string {
	t.Helper()
	res, err := s.store.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, r := range res.Rows {
		for _, v := range r {
			_, _ = out.WriteString(strings.TrimSpace(strings.ReplaceAll(fmt.Sprint(v), "\n", " ")) + "|")
		}
		_ = out.WriteByte('\n')
	}
	return out.String()
}

// A deployment is backed up while it has landed a part, has dead letters, and publishes on; it is restored elsewhere, lands the rest, audits clean, and goes on as
// the same deployment.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	var old site
	old.store, old.engine = storetest.StartServer(t, allow(dir))
	old.nats, old.bus = bustest.Start(t)
	old.publish(t, 0, 500)
	bustest.Foreign(t, old.nats, "md.v1.trade.foreign.IREN", []byte("not protobuf"))
	if res := old.land(t); !res.Clean() {
		t.Fatalf("%+v", res)
	}
	bustest.Purge(t, old.nats, market.Trades, 2) // the first message has aged out
	old.publish(t, 500, 300)                     // stored, not landed

	at := filepath.Join(dir, "first")
	m, err := backup.Make(t.Context(), old.deps(t), backup.Order{Dir: at, Mode: "live", Database: "hashpivot"})
	if err != nil {
		t.Fatal(err)
	}
	if m.Deployment == "" || m.Schema == 0 || len(m.Streams) != len(market.Streams()) || len(m.Files) < 2*len(m.Streams) {
		t.Errorf("manifest %+v", m)
	}
	if _, err := backup.Make(t.Context(), old.deps(t), backup.Order{Dir: at, Mode: "live", Database: "hashpivot"}); err == nil || !strings.Contains(err.Error(), "give another name") {
		t.Errorf("made over another: %v", err)
	}
	was := old.land(t) // life goes on
	if !was.Clean() {
		t.Fatalf("%+v", was)
	}

	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(at, moved); err != nil {
		t.Fatal(err)
	}
	var fresh site
	fresh.engine = chembedtest.Start(t, allow(moved))
	fresh.store = storetest.Open(t, fresh.engine)
	fresh.nats, fresh.bus = bustest.Start(t) // with empty streams, as a lander that was started too early leaves them
	if _, err := backup.Restore(t.Context(), fresh.deps(t), moved); err != nil {
		t.Fatal(err)
	}
	const landed = "SELECT count(), max(stream_seq) FROM trades"
	if got := fresh.rows(t, landed); !strings.HasPrefix(got, "500|") {
		t.Errorf("restored %s", got)
	}
	res := fresh.land(t)
	if !res.Clean() || res.Unverified != was.Unverified {
		t.Errorf("after the rest has landed: %+v, where it came from %+v", res.Streams[market.Trades], was.Streams[market.Trades])
	}
	const everything = "SELECT trade_id, price_usd, size_shares, stream_seq, idx, stream_time, event_time FROM trades ORDER BY stream_seq, idx"
	if got, want := fresh.rows(t, everything), old.rows(t, everything); got != want || strings.Count(got, "\n") != 800 {
		t.Errorf("%d rows restored and landed, %d rows in the old one", strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
	if got := fresh.rows(t, "SELECT count() FROM dead_letters"); got != "1|\n" {
		t.Errorf("dead letters: %s", got)
	}
	if id, err := fresh.store.Deployment(t.Context()); err != nil || id != m.Deployment {
		t.Errorf("the database is now %s (%v), was %s", id, err, m.Deployment)
	}
	fresh.publish(t, 800, 10)
	if res := fresh.land(t); !res.Clean() {
		t.Errorf("after it went on: %+v", res)
	}

	// What is there is never written over.
	if _, err := backup.Restore(t.Context(), fresh.deps(t), moved); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("restored over a database: %v", err)
	}
	if err := fresh.store.Exec(t.Context(), "DROP DATABASE hashpivot SYNC"); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), fresh.deps(t), moved); !errors.Is(err, bus.ErrNotEmpty) {
		t.Errorf("restored over streams: %v", err)
	}
}

// What is not a whole backup is refused before anything is made.
func TestDamagedBackups(t *testing.T) {
	make := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{
			"streams/TRADES/backup.json": "{}", "tables/.backup": "<config/>",
			"manifest.json": `{"format":1,"version":"v9","schema":1,"streams":[{"stream":"TRADES"}],"files":[
				{"path":"streams/TRADES/backup.json","size":2,"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
				{"path":"tables/.backup","size":9,"sha256":"22b6aea43b874c33f01d0619be783f9109bd32869bbb9a675e6c54811793d831"}]}`,
		} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		damage func(*testing.T, string)
		want   string
	}{
		"never finished":  {remove("manifest.json"), "was never finished"},
		"cut manifest":    {write("manifest.json", `{"format":1,`), "not a whole backup"},
		"newer format":    {write("manifest.json", `{"format":2,"version":"v9"}`), "use the version that made it (v9)"},
		"unknown stream":  {write("manifest.json", `{"format":1,"version":"v9","streams":[{"stream":"OPTIONS"}]}`), "use the version that made it (v9)"},
		"missing file":    {remove("streams/TRADES/backup.json"), "backup.json is missing"},
		"altered file":    {write("streams/TRADES/backup.json", "[]"), "is not what was written"},
		"cut file":        {write("streams/TRADES/backup.json", "{"), "is not what was written"},
		"foreign file":    {write("streams/TRADES/other", ""), "other does not belong to it"},
		"directory alone": {func(t *testing.T, dir string) { remove("manifest.json")(t, dir); remove("tables/.backup")(t, dir) }, "was never finished"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := make(t)
			tt.damage(t, dir)
			if _, err := backup.Check(t.Context(), dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
