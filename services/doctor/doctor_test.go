//go:build linux

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }

// within is more than anything takes here, but for what is made to hang.
const within = 20 * time.Second

// found is the first finding of a check with the state, or the first of all.
func found(t *testing.T, c Check, state State) Finding {
	t.Helper()
	all := Run(t.Context(), []Check{c}, within)
	for _, f := range all {
		if f.State == state {
			return f
		}
	}
	return all[0]
}

// want holds that a check ends in a state, and says what is to be said.
func want(t *testing.T, c Check, state State, says ...string) {
	t.Helper()
	f := found(t, c, state)
	if f.State != state {
		t.Errorf("%s: %+v, want %s", c.Name, f, state)
	}
	for _, s := range says {
		if !strings.Contains(f.Detail+" -> "+f.Fix, s) {
			t.Errorf("%s: %q -> %q does not say %q", c.Name, f.Detail, f.Fix, s)
		}
	}
	if (f.State == Fail || f.State == Warn) && f.Fix == "" {
		t.Errorf("%s: %q says not what to do", c.Name, f.Detail)
	}
}

func natsOf(t *testing.T, url string, change func(*bus.Config), services ...string) *NATS {
	t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL = url
	if change != nil {
		change(&cfg)
	}
	if len(services) == 0 {
		services = Services()
	}
	n := NewNATS(cfg, services...)
	t.Cleanup(n.Close)
	return n
}

func tables(t *testing.T, cfg store.Config) *ClickHouse {
	t.Helper()
	c := NewClickHouse(cfg)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestOneHidesNoOther: a check that hangs, and NATS and ClickHouse that are not there, are told, and the others are looked at.
func TestOneHidesNoOther(t *testing.T) {
	n := natsOf(t, "nats://"+nobody(t), nil)
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Replicated = []string{nobody(t), nobody(t)}, true
	c := tables(t, cfg)
	release := make(chan struct{})
	defer close(release)
	all := Run(t.Context(), []Check{
		{"hangs", func(context.Context) []Finding { <-release; return nil }},
		n.Reached(), n.Clock(time.Minute), n.Permissions(), n.Streams(), n.Storage(), c.Reached(), c.Clock(), c.Schema(), c.Grants(Lander), c.Disks(), c.Replicas(), Deployment(n, c, "live"),
		Simple("stands", func(context.Context) Finding { return okay("it does") }),
	}, time.Second)
	state := map[string]State{}
	for _, f := range all {
		state[f.Check] = f.State
		if f.State == Fail && f.Fix == "" {
			t.Errorf("%+v says not what to do", f)
		}
	}
	for name, s := range map[string]State{
		"hangs": Fail, "nats": Fail, "clickhouse": Fail, "stands": OK, "nats clock": Skip, "nats permissions": Skip, "streams": Skip, "nats storage": Skip,
		"clickhouse clock": Skip, "schema": Skip, "clickhouse grants": Skip, "clickhouse disk": Skip, "clickhouse replicas": Fail, "deployment": Skip,
	} {
		if state[name] != s {
			t.Errorf("%s is %s, want %s", name, state[name], s)
		}
	}
	if !Failed(all) {
		t.Error("it has not failed")
	}
}

func TestClock(t *testing.T) {
	f := func(offset, within time.Duration, want State) {
		t.Helper()
		if got := clock("NATS", offset, within, time.Minute); got.State != want {
			t.Errorf("%s off, known to %s: %+v, want %s", offset, within, got, want)
		}
	}
	f(time.Hour, time.Millisecond, Fail)
	f(-time.Hour, time.Millisecond, Fail)
	f(3*time.Second, time.Millisecond, Warn)
	f(time.Second, time.Millisecond, OK)
	f(3*time.Second, 2*time.Second, OK) // nobody knows
}

// TestAnHourOff: a real server whose times, in what it answers, are an hour off on the way.
func TestAnHourOff(t *testing.T) {
	srv, _ := bustest.Start(t)
	n := natsOf(t, "nats://"+hourOff(t, strings.TrimPrefix(srv.URL(), "nats://")), nil)
	want(t, n.Reached(), OK)
	want(t, n.Clock(time.Minute), Fail, "NATS's clock is", "NTP")
}

// hourOff is a way to a NATS server that sets the hour in times of its answers, which keep their length.
func hourOff(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hour := regexp.MustCompile(`"(time|ts)":"\d{4}-\d\d-\d\dT\d\d`)
	var ways sync.WaitGroup
	ways.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			ways.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			ways.Go(func() {
				defer func() { _ = in.Close() }()
				buf := make([]byte, 1<<20) // more than an answer: none is cut in two here
				for {
					n, err := out.Read(buf)
					said := hour.ReplaceAllFunc(buf[:n], func(b []byte) []byte {
						at, perr := strconv.Atoi(string(b[len(b)-2:]))
						if perr != nil {
							return b
						}
						return fmt.Appendf(b[:len(b)-2:len(b)-2], "%02d", (at+1)%24)
					})
					if _, werr := in.Write(said); err != nil || werr != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		ways.Wait()
	})
	return l.Addr().String()
}

// TestNATS goes through what can be wrong with a NATS, on real servers.
func TestNATS(t *testing.T) {
	srv, b := bustest.Start(t)
	n := natsOf(t, srv.URL(), nil)
	want(t, n.Reached(), OK, "2.")
	want(t, n.Clock(time.Minute), OK)
	want(t, n.Permissions(), OK)
	want(t, n.Streams(), OK, "11 as they are declared")
	want(t, n.Storage(), OK)

	want(t, natsOf(t, srv.URL(), func(c *bus.Config) { c.MaxBytes, c.Replicas = 1<<30, 3 }).Streams(), Warn, "replicas is 1, not 3", "max_bytes is")
	want(t, natsOf(t, srv.URL(), func(c *bus.Config) { c.Shards = map[market.Stream]int{market.Trades: 4} }).Streams(), Warn, "TRADES: shards is 1, not 4")
	bustest.Alter(t, srv, market.Halts, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 1000 })
	want(t, n.Streams(), Fail, "HALTS: discard is DiscardOld", "max_msgs is 1000, not 0")
	bustest.Alter(t, srv, market.Halts, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, -1 })
	bustest.Alter(t, srv, market.Bars, func(c *jetstream.StreamConfig) { c.Subjects, c.Duplicates = []string{"md.v1.bar.1m.*"}, time.Second })
	want(t, n.Streams(), Fail, "BARS: subjects is md.v1.bar.1m.*, not md.v1.bar.*.*; duplicate_window is 1s, not 2m0s")
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, n.Streams(), OK)
	bustest.DeleteStream(t, srv, market.Rates)
	want(t, n.Streams(), Warn, "not declared: RATES")

	// A stream that is nearly full.
	small := natsOf(t, srv.URL(), func(c *bus.Config) { c.MaxBytes = 1 << 20 })
	bustest.Alter(t, srv, market.Trades, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	for i := range 9 {
		bustest.Foreign(t, srv, "md.v1.trade.x.Y", make([]byte, 100<<10))
		if i == 8 {
			want(t, small.Streams(), Warn, "TRADES is full to 8")
		}
	}
	bustest.Foreign(t, srv, "md.v1.trade.x.Y", make([]byte, 90<<10))
	want(t, small.Streams(), Fail, "TRADES is full to 9")

	if got := judge(bus.StreamView{Info: bus.Info{Stream: market.Trades}, Behind: []string{"n2"}}); len(got) != 1 || got[0].State != Warn || !strings.Contains(got[0].Detail, "n2") {
		t.Errorf("a replica that is behind: %+v", got)
	}
}

// TestNobodyDeclared: looking declares nothing.
func TestNobodyDeclared(t *testing.T) {
	url, _ := bustest.Configured(t, "server_name: fresh\n", t.TempDir())
	n := natsOf(t, url, nil)
	want(t, n.Streams(), OK, "none is declared yet")
	want(t, n.Clock(time.Minute), OK)
	want(t, Deployment(n, nil, "live"), OK)
	want(t, n.Streams(), OK, "none is declared yet")
	b, err := n.conn.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s, err := b.Storage(t.Context()); err != nil || s.Used != 0 {
		t.Errorf("something was made: %+v, %v", s, err)
	}
	if h, err := b.Holders(t.Context()); err != nil || h != nil {
		t.Errorf("holders: %v, %v", h, err)
	}
}

// TestNATSUsers: a wrong password, and users that may not do what they must, or not ask what they may.
func TestNATSUsers(t *testing.T) {
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir, cfg.Users = "127.0.0.1:0", t.TempDir(), map[string]bus.Login{}
	for _, d := range bus.Duties() {
		cfg.Users[d.User] = bus.Login{Password: "p"}
	}
	srv, err := bus.StartServer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	own, err := bus.Connect(bus.DefaultConfig(), srv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := own.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	as := func(url, user string, password run.Secret, services ...string) *NATS {
		t.Helper()
		return natsOf(t, url, func(c *bus.Config) { c.User, c.Password = user, password }, services...)
	}
	want(t, as(srv.URL(), "lander", "wrong").Reached(), Fail, "nats.password")
	for _, service := range Services() {
		n := as(srv.URL(), service, "p", service)
		want(t, n.Permissions(), OK, "user "+service+" may do")
		want(t, n.Streams(), OK)
	}
	n := as(srv.URL(), "gpurates", "p", Lander)
	want(t, n.Permissions(), Fail, "user gpurates may not", "CONSUMER.CREATE.BARS", " more", "hashpivot nats-users")
	want(t, n.Streams(), Skip, "STREAM.INFO")
	want(t, n.Storage(), Skip, "JS.API.INFO")

	url, monitor := bustest.Configured(t, `
server_name: guarded
http: "127.0.0.1:-1"
authorization { users: [
  { user: all, password: p }
  { user: denied, password: p, permissions: { publish: { deny: [ "md.v1.trade.x.>" ] } } }
  { user: mute, password: p, permissions: { publish: [ "$JS.API.>" ] } }
] }
`, t.TempDir())
	n = as(url, "all", "p")
	want(t, n.Permissions(), OK, "all may do")
	want(t, as(url, "denied", "p", Equities).Permissions(), Fail, "publish to md.v1.trade.*.*")
	want(t, as(url, "denied", "p", Hashprice).Permissions(), OK)
	mute := as(url, "mute", "p", Lander)
	want(t, mute.Permissions(), Skip, "$SYS.REQ.USER.INFO")
	want(t, mute.Reached(), OK)

	want(t, n.Sync("", nil), Skip, "--nats-monitor")
	want(t, n.Sync("", []string{monitor}), Warn, "guarded syncs every 2m")
	want(t, n.Sync("", []string{"http://" + nobody(t)}), Fail)
	want(t, n.Sync("2m", nil), Warn, "the embedded server syncs every 2m")
	want(t, n.Sync("always", nil), OK)
}

func TestSyncAlways(t *testing.T) {
	url, monitor := bustest.Configured(t, "http: \"127.0.0.1:-1\"\njetstream { sync_interval: always }\n", t.TempDir())
	want(t, natsOf(t, url, nil).Sync("", []string{monitor}), OK)
}

// TestClickHouse goes through what can be wrong with a database, on the real engine.
func TestClickHouse(t *testing.T) {
	srv := chembedtest.Start(t, func(c *chembed.Config) {
		c.Users = map[string]chembed.User{"default": {Password: "p"}, "quant": {Password: "q", ReadOnly: 2}, "bound": {Password: "b", ReadOnly: 1}}
	})
	cfg := storetest.Config(srv)
	as := func(user, password string) store.Config {
		out := cfg
		out.User = user
		if err := json.Unmarshal([]byte(`"`+password+`"`), &out.Password); err != nil {
			t.Fatal(err)
		}
		return out
	}
	want(t, tables(t, as("default", "wrong")).Reached(), Fail, "clickhouse.password")
	c := tables(t, as("default", "p"))
	want(t, c.Reached(), OK, "26.")
	want(t, c.Clock(), OK)
	want(t, c.Schema(), Fail, "has no tables of ours yet", "hashpivot migrate")
	want(t, c.Grants(Lander), Skip, "no tables")
	if f := found(t, c.Disks(), OK); !strings.Contains(f.Detail, "free of") {
		t.Errorf("disks: %+v", f)
	}

	st, err := store.Open(t.Context(), as("default", "p"), chembedtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, c.Schema(), OK)
	want(t, c.Grants(Services()...), OK, "default may write")
	want(t, tables(t, as("quant", "q")).Grants(Gateway), OK, "quant may read")
	want(t, tables(t, as("bound", "b")).Grants(Gateway), Fail, "readonly mode")
	want(t, tables(t, as("quant", "q")).Grants(Lander), Fail, "quant may not write", "trades", "readonly")
	if err := st.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	want(t, c.Schema(), Fail, "is at 9999, this binary knows up to", "newer hashpivot")
	if err := st.Exec(t.Context(), "CREATE DATABASE older"); err != nil {
		t.Fatal(err)
	}
	if err := st.Exec(t.Context(), "CREATE TABLE older.goose_db_version AS goose_db_version ENGINE = MergeTree ORDER BY tuple()"); err != nil {
		t.Fatal(err)
	}
	if err := st.Exec(t.Context(), "INSERT INTO older.goose_db_version (version_id, is_applied) VALUES (100, 1)"); err != nil {
		t.Fatal(err)
	}
	old := as("default", "p")
	old.Database = "older"
	want(t, tables(t, old).Schema(), Fail, "is at 100, this binary is at", "hashpivot migrate")
}

// TestDeployment: NATS, database and mode that do not belong together.
func TestDeployment(t *testing.T) {
	st := storetest.Start(t)
	cfg := storetest.Config(chembedtest.Shared(t))
	res, err := st.Query(t.Context(), "SELECT currentDatabase()")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = fmt.Sprint(res.Rows[0][0])
	c := tables(t, cfg)
	srv, b := bustest.Start(t)
	n := natsOf(t, srv.URL(), nil)
	want(t, Deployment(n, c, "live"), OK)
	mode := b.Cell("mode")
	if _, err := mode.Swap(t.Context(), []byte("sim"), 0); err != nil {
		t.Fatal(err)
	}
	want(t, Deployment(n, c, "live"), Fail, "this NATS holds sim data", "mode: sim")
	want(t, Deployment(n, c, "sim"), OK)

	// Rows that this NATS has not landed: another lands here too.
	info, err := b.Info(t.Context(), market.Halts)
	if err != nil {
		t.Fatal(err)
	}
	batch := st.NewBatch()
	at := info.Created.Add(time.Second)
	halt := &market.Halt{Meta: market.Meta{Source: "x", EventTime: at, RecvTime: at}, Kind: market.HaltStatus, Symbol: "IREN", StatusCode: "H"}
	if err := batch.Add(halt, market.Place{Stream: market.Halts, Seq: 7, StreamTime: at}); err != nil {
		t.Fatal(err)
	}
	if err := st.Insert(t.Context(), batch, "another deployment's"); err != nil {
		t.Fatal(err)
	}
	want(t, Deployment(n, c, "sim"), Fail, "rows of HALTS, and this NATS has landed none", "hashpivot adopt")
	id, err := st.Deployment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cell := b.Cell(bus.LandingKey(market.Halts, bus.Shard{}))
	record := func(rev, last uint64, database string) uint64 {
		t.Helper()
		rec, err := json.Marshal(map[string]any{"created": info.Created.UnixNano(), "first": last + 1, "last": last, "database": database})
		if err != nil {
			t.Fatal(err)
		}
		rev, err = cell.Swap(t.Context(), rec, rev)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	rev := record(0, 3, id)
	want(t, Deployment(n, c, "sim"), Fail, "rows of HALTS up to sequence 7, which this NATS has not landed")
	rev = record(rev, 7, id)
	want(t, Deployment(n, c, "sim"), OK)
	record(rev, 7, "another")
	want(t, Deployment(n, c, "sim"), Fail, "lands into database another", "two deployments share a cluster")
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "made")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	want(t, Directory("data directory", inside), OK)
	want(t, Directory("data directory", filepath.Join(inside, "later")), OK, "can be made")
	want(t, Directory("data directory", file), Fail, "no directory")
	if err := os.Chmod(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, Directory("data directory", inside), Warn, "0755")
	locked := filepath.Join(dir, "locked")
	if err := os.MkdirAll(filepath.Join(locked, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	look := func(path string) Finding { return Directory("data directory", path).Look(t.Context())[0] }
	for _, path := range []string{locked, filepath.Join(locked, "new")} {
		if f := asNobody(t, dir, func() Finding { return look(path) }); f.State != Fail || !strings.Contains(f.Fix, "--data-dir") {
			t.Errorf("%s, which is another's: %+v", path, f)
		}
	}
	if err := os.Chmod(locked, 0o777); err != nil {
		t.Fatal(err)
	}
	if f := asNobody(t, dir, func() Finding { return look(locked) }); f.State != Fail || !strings.Contains(f.Detail, "nats cannot be written") {
		t.Errorf("a part that is another's: %+v", f)
	}
}

// asNobody looks with the rights of an account without any, which the superuser must become for it: in a thread that ends with it.
func asNobody(t *testing.T, dir string, look func() Finding) Finding {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("wants the superuser, who can become another")
	}
	for at := dir; at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	var as func(out chan<- Finding)
	as = func(out chan<- Finding) {
		runtime.LockOSThread()              // never unlocked: the thread ends
		if unix.Gettid() == unix.Getpid() { // the process's first thread does not
			another := make(chan Finding)
			go as(another)
			out <- <-another
			runtime.UnlockOSThread()
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			out <- Finding{Detail: errno.Error()}
			return
		}
		out <- look()
	}
	out := make(chan Finding)
	go as(out)
	return <-out
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	want(t, Fsync(dir, 3*time.Second), OK)
	want(t, Fsync(filepath.Join(dir, "none"), 3*time.Second), Skip)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the look at the disk left %v, %v", left, err)
	}
	took := func(all ...time.Duration) State { return slow(all, 3*time.Second).State }
	if a, b, c, d := took(time.Millisecond), took(60*time.Millisecond), took(time.Millisecond, time.Millisecond, time.Second), took(800*time.Millisecond); a != OK || b != Warn || c != Warn || d != Fail {
		t.Errorf("fsync: %s %s %s %s", a, b, c, d)
	}
	const gb = 1 << 30
	for _, x := range []struct {
		free, size, inodes, all, grow uint64
		want                          State
	}{
		{50 * gb, 100 * gb, 1e6, 2e6, 10 * gb, OK}, {50 * gb, 100 * gb, 1e6, 2e6, 60 * gb, Warn}, {5 * gb, 100 * gb, 1e6, 2e6, 0, Warn}, {gb / 2, 100 * gb, 1e6, 2e6, 0, Fail},
		{50 * gb, 100 * gb, 5000, 2e6, 0, Fail}, {50 * gb, 100 * gb, 50_000, 2e6, 0, Warn}, {50 * gb, 100 * gb, 0, 0, 0, OK},
	} {
		if f := room(x.free, x.size, x.inodes, x.all, x.grow); f.State != x.want {
			t.Errorf("%+v: %+v", x, f)
		}
	}
	if f := found(t, Disk(dir, 0), OK); !strings.Contains(f.Detail, "inodes free") {
		t.Errorf("disk: %+v", f)
	}
	want(t, Files(0, 1<<62), Fail, "LimitNOFILE")
	want(t, Files(os.Getpid(), 1), OK)
	want(t, Memory(1<<62), Fail)
	want(t, Memory(1<<20), OK)
	for _, x := range []struct {
		all, free uint64
		want      State
	}{{8 * gb, 4 * gb, OK}, {8 * gb, gb / 2, Warn}, {8 * gb, gb / 8, Fail}, {gb + gb/2, gb, Warn}, {gb / 2, gb / 2, Fail}} {
		if f := enough(x.all, x.free, 2*gb, "here"); f.State != x.want {
			t.Errorf("%+v: %+v", x, f)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	want(t, Addresses(map[string]string{"nats.addr": l.Addr().String(), "admin.addr": "127.0.0.1:0"}), Fail, "nats.addr", "in use")
	want(t, Addresses(map[string]string{"nats.addr": "127.0.0.1:0"}), OK)
}

// TestReplica judges what a replica says of itself.
func TestReplica(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Replicated = []string{"a:9000", "b:9000", "c:9000"}, true
	c := tables(t, cfg)
	well := store.Replica{Addr: "a:9000", Name: "r1", Shard: "1", Active: 3, Total: 3}
	f := func(change func(*store.Replica), state State, says string) {
		t.Helper()
		r := well
		change(&r)
		got := c.replica(r)
		if got.State != state || !strings.Contains(got.Detail, says) || !strings.Contains(got.Detail, r.Addr) || (state == Fail || state == Warn) && got.Fix == "" {
			t.Errorf("%+v: %+v, want %s with %q", r, got, state, says)
		}
	}
	f(func(*store.Replica) {}, OK, "replica r1 of 3")
	f(func(r *store.Replica) { r.Err = errors.New("connection refused") }, Fail, "refused")
	f(func(r *store.Replica) { r.ReadOnly = []string{"trades"} }, Fail, "trades")
	f(func(r *store.Replica) { r.Total, r.Active = 2, 2 }, Fail, "have 2 replicas, clickhouse.addr names 3")
	f(func(r *store.Replica) { r.Active = 2 }, Warn, "2 are active")
	f(func(r *store.Replica) { r.Delay = 2 * time.Minute }, Warn, "2m0s behind")
	f(func(r *store.Replica) { r.Delay = time.Hour }, Fail, "1h0m0s behind")
	f(func(r *store.Replica) { *r = store.Replica{Addr: "a:9000", Name: "r1"} }, Skip, "no replicated tables")
}
