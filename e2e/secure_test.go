package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/sim"
)

// natsEnv makes this test's program a nats-server with the configuration that it names.
const natsEnv = "HASHPIVOT_E2E_NATS"

func TestMain(m *testing.M) {
	if conf := os.Getenv(natsEnv); conf != "" {
		if err := serveNATS(conf); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Each test is a system, or several, that computes all the time: more of them at once take as long together, and each keeps fewer of its times.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err) // it is the testing package's own
	}
	os.Exit(m.Run())
}

// serveNATS is nats-server's own main.
func serveNATS(conf string) error {
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		return err
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	end := context.AfterFunc(ctx, s.Shutdown)
	defer end()
	s.WaitForShutdown()
	return nil
}

// guarded is a deployment of which every part is a process of its own: three nats-servers, the embedded ClickHouse, the simulators that replay the recordings, and
// services. All speak TLS, each shows who it is, and none may do more than it must.
type guarded struct {
	t      *testing.T
	dir    string
	ca     string
	cert   string // of clients
	key    string
	nats   string
	native string
	web    string
	mode   string
	config string // of the upstreams
}

// database of the mode.
func (g *guarded) database() string { return "hashpivot_" + g.mode }

// The users of ClickHouse, and what of the embedded one's means holds each to its task.
var clickhouseUsers = map[string]string{
	"migrate": "", // it makes the database, which no user may who is held to some
	"lander":  "databases: [%[1]s, default], ", "audit": "databases: [%[1]s, default], ", "ops": "databases: [%[1]s, default], ",
	"signals": "readonly: 2, databases: [%[1]s, default], ", "gateway": "readonly: 2, databases: [%[1]s, default], ", "quant": "readonly: 2, databases: [%[1]s, default], ",
}

func (g *guarded) path(parts ...string) string {
	return filepath.Join(append([]string{g.dir}, parts...)...)
}

func (g *guarded) write(name, text string) string {
	g.t.Helper()
	if err := os.MkdirAll(filepath.Dir(g.path(name)), 0o700); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(g.path(name), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return g.path(name)
}

// ports that nobody listened on a moment ago.
func ports(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// startNATS starts the three nodes. Users are told by nkeys, which hashpivot makes.
func (g *guarded) startNATS(a *certstest.Authority) {
	g.t.Helper()
	code, users, errs := run(g.t, time.Minute, "nats-users", "--nkeys", g.path("nkeys"))
	if code != 0 {
		g.t.Fatal(errs)
	}
	g.write("users.conf", users)
	at := ports(g.t, 6)
	var urls []string
	for i := range 3 {
		cert, key := a.Issue(certstest.Order{})
		var routes []string
		for j := range 3 {
			if i != j {
				routes = append(routes, fmt.Sprintf("tls://127.0.0.1:%d", at[3+j]))
			}
		}
		secure := fmt.Sprintf("cert_file: %q, key_file: %q, ca_file: %q, verify: true", cert, key, a.File)
		conf := g.write(fmt.Sprintf("nats-%d.conf", i), fmt.Sprintf(`
server_name: node-%d
listen: "127.0.0.1:%d"
max_payload: 1MB
feature_flags { js_ack_fc_v2: true }
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1TB, sync_interval: always }
tls { %s }
cluster { name: guarded, listen: "127.0.0.1:%d", no_advertise: true, routes: [%s], tls { %s } }
include users.conf
`, i, at[i], g.path(fmt.Sprintf("nats-%d", i)), secure, at[3+i], strings.Join(routes, ", "), secure))
		self, err := os.Executable()
		if err != nil {
			g.t.Fatal(err)
		}
		startProgram(g.t, []string{natsEnv + "=" + conf}, self)
		urls = append(urls, fmt.Sprintf("tls://127.0.0.1:%d", at[i]))
	}
	g.nats = strings.Join(urls, ",")
}

// startClickHouse starts the embedded one, with a user a service, whose password is in a file.
func (g *guarded) startClickHouse(a *certstest.Authority) {
	g.t.Helper()
	cert, key := a.Issue(certstest.Order{})
	var conf strings.Builder
	fmt.Fprintf(&conf, "clickhouse:\n  server:\n    native_tls_addr: 127.0.0.1:0\n    https_addr: 127.0.0.1:0\n    tls_cert: %s\n    tls_key: %s\n    tls_client_ca: %s\n    users:\n",
		cert, key, a.File)
	for _, user := range slices.Sorted(maps.Keys(clickhouseUsers)) {
		file := g.write("passwords/clickhouse-"+user, "for-"+user+"\n")
		fmt.Fprintf(&conf, "      %s: {%spassword_file: %s}\n", user, strings.ReplaceAll(clickhouseUsers[user], "%[1]s", g.database()), file)
	}
	p := start(g.t, nil, "clickhouse", "--json", "--free-ports", "-c", g.write("clickhouse.yaml", conf.String()), "--data-dir", g.path("data"))
	var at struct {
		NativeTLS string `json:"native_tls"`
		HTTPS     string `json:"https"`
	}
	if err := json.Unmarshal([]byte(p.line(func(l string) bool { return strings.HasPrefix(l, "{") })), &at); err != nil {
		g.t.Fatal(err)
	}
	g.native, g.web = at.NativeTLS, at.HTTPS
}

// env is a service's: its own user everywhere, secrets by files.
func (g *guarded) env(service, clickhouseUser string) []string {
	return []string{
		"HASHPIVOT_MODE=" + g.mode, "HASHPIVOT_NATS__URL=" + g.nats, "HASHPIVOT_NATS__REPLICAS=3", fmt.Sprintf("HASHPIVOT_NATS__MAX_BYTES=%d", 1<<30),
		"HASHPIVOT_NATS__USER=" + service, "HASHPIVOT_NATS__NKEY_FILE=" + g.path("nkeys", service+".nk"),
		"HASHPIVOT_NATS__CA_FILE=" + g.ca, "HASHPIVOT_NATS__CERT_FILE=" + g.cert, "HASHPIVOT_NATS__KEY_FILE=" + g.key,
		"HASHPIVOT_CLICKHOUSE__ADDR=" + g.native, "HASHPIVOT_CLICKHOUSE__TLS=true", "HASHPIVOT_CLICKHOUSE__USER=" + clickhouseUser,
		"HASHPIVOT_CLICKHOUSE__PASSWORD_FILE=" + g.path("passwords", "clickhouse-"+clickhouseUser),
		"HASHPIVOT_CLICKHOUSE__CA_FILE=" + g.ca, "HASHPIVOT_CLICKHOUSE__CERT_FILE=" + g.cert, "HASHPIVOT_CLICKHOUSE__KEY_FILE=" + g.key,
		"HASHPIVOT_ADMIN__ADDR=127.0.0.1:0", "HASHPIVOT_ADMIN__TLS_CERT=" + g.cert, "HASHPIVOT_ADMIN__TLS_KEY=" + g.key,
		"HASHPIVOT_GATEWAY__ADDR=127.0.0.1:0", "HASHPIVOT_GATEWAY__TLS_CERT=" + g.cert, "HASHPIVOT_GATEWAY__TLS_KEY=" + g.key,
		"HASHPIVOT_LOG__FORMAT=json",
	}
}

// service runs one in a process of its own until the test ends.
func (g *guarded) service(name, clickhouseUser string, args ...string) *proc {
	g.t.Helper()
	return start(g.t, g.env(name, clickhouseUser), append([]string{"-c", g.config, name}, args...)...)
}

// ops runs an operator's command.
func (g *guarded) command(service, clickhouseUser string, args ...string) (int, string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(g.t), append([]string{"-c", g.config}, args...)...)
	cmd.Env = append(os.Environ(), g.env(service, clickhouseUser)...)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		g.t.Fatalf("hashpivot %v: %v\n%s", args, err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// sql runs a statement over HTTPS as the user and returns what the server says.
func (g *guarded) sql(user, statement string) (string, error) {
	pair, err := tls.LoadX509KeyPair(g.cert, g.key)
	if err != nil {
		return "", err
	}
	pool, err := poolOf(g.ca)
	if err != nil {
		return "", err
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "https://"+g.web+"/?database="+url.QueryEscape(g.database()), strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-ClickHouse-User", user)
	req.Header.Set("X-ClickHouse-Key", "for-"+user)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return string(bytes.TrimSpace(body)), err
}

// TestSecure plays the recordings through services that are each a process with a user of its own, over TLS, against three nats-servers. Then every user tries
// everything that it must not do, and what must not work together does not. make e2e-secure runs it.
func TestSecure(t *testing.T) {
	if testing.Short() {
		t.Skip("a dozen processes for most of a minute: make e2e-secure")
	}
	data := recordings(t)
	a := certstest.New(t)
	g := &guarded{t: t, dir: t.TempDir(), ca: a.File, mode: "recorded"}
	g.cert, g.key = a.Issue(certstest.Order{Name: "client"})
	g.startNATS(a)
	g.startClickHouse(a)
	g.upstreams(data)

	t.Run("nothing is there before migrate has been run", func(t *testing.T) {
		until(t, time.Minute, "the cluster answers", func() bool {
			code, out := g.command("lander", "lander", "lander")
			return code == 1 && strings.Contains(out, "run hashpivot migrate")
		})
	})
	if code, out := g.command("migrate", "migrate", "migrate"); code != 0 || !strings.Contains(out, "the streams are declared, for recorded data") {
		t.Fatalf("migrate: %d %s", code, out)
	}
	lander, gate := g.service("lander", "lander"), g.service("gateway", "gateway")
	signals := g.service("signals", "signals")
	begin := time.Now()
	var feeds []*proc
	for _, name := range []string{"equities", "hashprice", "gpurates"} {
		feeds = append(feeds, g.service(name, "signals")) // they speak to no ClickHouse
	}
	for i, p := range feeds {
		if code := p.wait(4 * time.Minute); code != 0 {
			t.Fatalf("feed %d: code %d\n%s", i, code, p.stderr.text())
		}
	}
	published := time.Since(begin)
	g.drained()
	t.Logf("the recordings were published in %s and had landed after %s", published.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	code, out := g.command("ops", "ops", "audit", "--json")
	var res struct {
		Lost, Duplicates, Altered uint64
		Streams                   map[string]struct{ Published, Landed uint64 }
	}
	if err := json.Unmarshal([]byte(lastLineOf(out)), &res); err != nil || code != 0 || res.Lost+res.Duplicates+res.Altered != 0 {
		t.Fatalf("audit: %d %v %s", code, err, out)
	}
	for _, s := range []string{"BARS", "HASHPRICE", "OFFERS", "RATES", "FEEDS"} {
		if res.Streams[s].Published == 0 || res.Streams[s].Landed == 0 {
			t.Errorf("%s: an audit of nothing: %+v", s, res.Streams[s])
		}
	}
	g.auditService()
	g.gateway(gate)
	for name, p := range map[string]*proc{"lander": lander, "gateway": gate, "signals": signals, "equities": feeds[0], "hashprice": feeds[1], "gpurates": feeds[2]} {
		if text := p.stderr.text(); strings.Contains(strings.ToLower(text), "permissions violation") || strings.Contains(text, `"level":"ERROR"`) {
			t.Errorf("%s has something to complain of:\n%s", name, text)
		}
	}

	t.Run("nobody may more in NATS", func(t *testing.T) { g.trespass(t) })
	t.Run("nobody may more in ClickHouse", func(t *testing.T) { g.trespassTables(t) })
	t.Run("what does not belong together", func(t *testing.T) { g.mistakes(t, a) })
	if code, out := g.command("ops", "ops", "audit", "--json"); code != 0 {
		t.Errorf("after all that the audit is not clean: %s", out)
	}
	for name, p := range map[string]*proc{"lander": lander, "gateway": gate, "signals": signals} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(20 * time.Second); code != 0 {
			t.Errorf("%s ended with %d\n%s", name, code, p.stderr.text())
		}
	}
}

// upstreams starts the simulators and points a configuration at them.
func (g *guarded) upstreams(data string) {
	g.t.Helper()
	p := start(g.t, nil, "sim", "--json", "--recorded", data)
	var u sim.URLs
	if err := json.Unmarshal([]byte(p.line(func(l string) bool { return strings.HasPrefix(l, "{") })), &u); err != nil {
		g.t.Fatal(err)
	}
	symbols, err := sim.RecordedSymbols(data)
	if err != nil {
		g.t.Fatal(err)
	}
	g.config = g.write("upstreams.yaml", fmt.Sprintf(`
equities:
  calendar: always
  stop_at_end: true
  symbols: [%[1]s]
  backfill: {daily_from: "1990-01-01", minute_from: "1990-01-01", ticks_from: ""}
  alpaca: {source: rec-alpaca, stream_url: "%[2]s", rest_url: "%[3]s", key: any, secret: any}
hashprice:
  stop_at_end: true
  calculator: {source: rec-hashpivot}
  mempool: {source: rec-mempool, stream_url: "%[4]s", rest_url: "%[5]s", call_every: 1ms}
  coinbase: {source: rec-coinbase, stream_url: "%[6]s", rest_url: "%[7]s", call_every: 1ms}
  coinmetrics: {source: rec-coinmetrics, url: "%[8]s", call_every: 1ms}
  kraken: {enabled: false}
  braiins: {enabled: false}
gpurates:
  stop_at_end: true
  vast: {source: rec-vast, url: "%[9]s", poll_every: 10ms, metrics_call_every: 1ms}
  runpod: {enabled: false}
  akash: {enabled: false}
  azure: {enabled: false}
  index: {enabled: false}
signals: {calendar: always}
`, strings.Join(symbols, ", "), u.AlpacaStream, u.AlpacaREST, u.MempoolWS, u.MempoolREST, u.CoinbaseWS, u.CoinbaseREST, u.CoinMetricsREST, u.Vast))
}

// drained waits until everything has landed, as the operator sees it.
func (g *guarded) drained() {
	g.t.Helper()
	until(g.t, 4*time.Minute, "everything lands", func() bool {
		code, out := g.command("ops", "ops", "audit", "--json", "--no-record")
		var res struct {
			Streams map[string]struct{ Published, Pending uint64 }
		}
		if code != 0 || json.Unmarshal([]byte(lastLineOf(out)), &res) != nil {
			return false
		}
		for _, s := range res.Streams {
			if s.Pending > 0 {
				return false
			}
		}
		return res.Streams["BARS"].Published > 0
	})
}

func lastLineOf(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// auditService runs the scheduled audit as the user of its own, and reads the table that it writes.
func (g *guarded) auditService() {
	g.t.Helper()
	p := start(g.t, g.env("audit", "audit"), "-c", g.config, "audit", "--every", "10s")
	until(g.t, time.Minute, "the scheduled audit writes its result", func() bool {
		n, err := g.sql("quant", "SELECT count() FROM audits WHERE by = 'service'")
		if err != nil {
			g.t.Fatalf("%v\n%s", err, p.stderr.text())
		}
		return n != "0"
	})
	if text := p.stderr.text(); strings.Contains(strings.ToLower(text), "permissions violation") {
		g.t.Errorf("the scheduled audit has something to complain of:\n%s", text)
	}
}

// gateway asks the gateway over HTTPS.
func (g *guarded) gateway(p *proc) {
	g.t.Helper()
	addr := ""
	until(g.t, time.Minute, "the gateway listens", func() bool {
		for line := range strings.SplitSeq(p.stderr.text(), "\n") {
			var l struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "the gateway listens" {
				addr = l.Addr
			}
		}
		return addr != ""
	})
	pool, err := poolOf(g.ca)
	if err != nil {
		g.t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	until(g.t, time.Minute, "history over HTTPS", func() bool {
		resp, err := client.Get("https://" + addr + "/v1/history?channel=hashprice&symbols=*&from=HASHPRICE:0&limit=1")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"cursor":"HASHPRICE:`)) && resp.Header.Get("Strict-Transport-Security") != ""
	})
}

// trespass has every user try everything, as any client could; nothing of what the streams hold has changed but by what is a user's own to publish.
func (g *guarded) trespass(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(g.cert, g.key)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := poolOf(g.ca)
	if err != nil {
		t.Fatal(err)
	}
	secure := nats.Secure(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	never := []string{
		"delete", "purge", "delete a message", "copy", "copy records", "restore", "move", "see consumers", "make a lasting consumer", "stop consumers", "acknowledge", "create another", "list", "lead",
		"ask the system", "answer for others", "something else", "read all records", "read ids", "cell of another", "read cell of another", "hear answers of others", "hear events",
		"hear records", "hear JetStream", "hear the system",
	}
	for _, d := range bus.Duties() {
		seed, err := nats.NkeyOptionFromSeed(g.path("nkeys", d.User+".nk"))
		if err != nil {
			t.Fatal(err)
		}
		tried := bustest.Trespass(t, strings.Split(g.nats, ",")[0], d.User, bustest.May(d.User), seed, secure)
		if len(tried) < 25 {
			t.Errorf("%s tried only %d things", d.User, len(tried))
		}
		for what, refused := range tried {
			if !refused {
				t.Errorf("%s: %s was not refused", d.User, what)
			}
		}
		for _, what := range never {
			if _, ok := tried[what]; !ok && !slices.Contains(bustest.May(d.User), what) {
				t.Errorf("%s has not tried: %s", d.User, what)
			}
		}
	}
	for name, opts := range map[string][]nats.Option{
		"nobody": {secure}, "a password": {secure, nats.UserInfo("lander", "lander")}, "without a certificate": {nats.Secure(&tls.Config{RootCAs: pool})},
	} {
		if nc, err := nats.Connect(strings.Split(g.nats, ",")[0], opts...); err == nil {
			nc.Close()
			t.Errorf("%s was let in", name)
		}
	}
	if _, err := nats.Connect(strings.Replace(strings.Split(g.nats, ",")[0], "tls://", "nats://", 1)); err == nil {
		t.Error("the server speaks in the clear")
	}
}

func (g *guarded) trespassTables(t *testing.T) {
	rows := func() string {
		t.Helper()
		n, err := g.sql("quant", "SELECT count(), sum(cityHash64(*)) FROM bars")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rows()
	for _, user := range []string{"quant", "gateway", "signals"} {
		for _, statement := range []string{
			"INSERT INTO bars SELECT * FROM bars LIMIT 1", "ALTER TABLE bars DELETE WHERE 1", "ALTER TABLE bars UPDATE rev = 9 WHERE 1", "DROP TABLE bars", "TRUNCATE TABLE bars",
			"CREATE TABLE mine (a UInt8) ENGINE = Memory", "CREATE VIEW mine AS SELECT 1", "DROP DATABASE " + g.database(), "CREATE DATABASE mine", "RENAME TABLE bars TO mine",
			"OPTIMIZE TABLE bars", "SYSTEM FLUSH LOGS", "SET readonly = 0", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
			"INSERT INTO audits (audit_id) VALUES ('x')", "INSERT INTO FUNCTION file('x.csv') SELECT 1", "BACKUP DATABASE " + g.database() + " TO File('x')",
		} {
			if out, err := g.sql(user, statement); err == nil {
				t.Errorf("%s may %s: %s", user, statement, out)
			}
		}
		if _, err := g.sql(user, "SELECT count() FROM bars"); err != nil {
			t.Errorf("%s may not even read: %v", user, err)
		}
	}
	// Who writes does so in its own database, and reaches nothing beyond it.
	for _, user := range []string{"lander", "audit", "ops"} {
		for _, statement := range []string{
			"CREATE DATABASE mine", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "INSERT INTO FUNCTION file('x.csv') SELECT 1", "CREATE TABLE mine.x (a UInt8) ENGINE = Memory",
			"SELECT * FROM remote('127.0.0.1:1', system.one)",
		} {
			if out, err := g.sql(user, statement); err == nil {
				t.Errorf("%s may %s: %s", user, statement, out)
			}
		}
	}
	if _, err := g.sql("nobody", "SELECT 1"); err == nil {
		t.Error("an unknown user may ask")
	}
	if after := rows(); after != before {
		t.Errorf("bars are %s, and were %s", after, before)
	}
}

// mistakes are what an operator could get wrong.
func (g *guarded) mistakes(t *testing.T, a *certstest.Authority) {
	wants := func(what string, env []string, args []string, code int, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, binary(t), append([]string{"-c", g.config}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), want) {
			t.Errorf("%s: code %d, want %d and %q:\n%s", what, cmd.ProcessState.ExitCode(), code, want, out)
		}
		if bytes.Contains(out, []byte("for-lander")) {
			t.Errorf("%s: a password is told:\n%s", what, out)
		}
	}
	with := func(over ...string) []string { return append(g.env("lander", "lander"), over...) }
	stranger := certstest.New(t)
	old, oldKey := a.Issue(certstest.Order{To: time.Now().Add(-time.Minute)})
	early, earlyKey := a.Issue(certstest.Order{From: time.Now().Add(time.Hour)})
	strange, strangeKey := stranger.Issue(certstest.Order{})
	wants("another authority", with("HASHPIVOT_NATS__CA_FILE="+stranger.File), []string{"lander"}, 1, "set nats.ca_file to the certificate of the authority that signed it")
	wants("a certificate of ours that has expired", with("HASHPIVOT_NATS__CERT_FILE="+old, "HASHPIVOT_NATS__KEY_FILE="+oldKey), []string{"lander"}, 2, "has expired at")
	wants("a certificate of ours that is not valid yet", with("HASHPIVOT_NATS__CERT_FILE="+early, "HASHPIVOT_NATS__KEY_FILE="+earlyKey), []string{"lander"}, 2, "is this machine's clock right?")
	wants("a certificate of a stranger", with("HASHPIVOT_NATS__CERT_FILE="+strange, "HASHPIVOT_NATS__KEY_FILE="+strangeKey), []string{"lander"}, 1, "nats.cert_file and nats.key_file")
	wants("no certificate", with("HASHPIVOT_NATS__CERT_FILE=", "HASHPIVOT_NATS__KEY_FILE="), []string{"lander"}, 1, "nats.cert_file and nats.key_file")
	wants("ClickHouse of another authority", with("HASHPIVOT_CLICKHOUSE__CA_FILE="+stranger.File), []string{"sql", "SELECT 1"}, 1, "set clickhouse.ca_file to the certificate of the authority that signed it")
	wants("a wrong password", with("HASHPIVOT_CLICKHOUSE__PASSWORD_FILE="+g.write("passwords/wrong", "guess")), []string{"sql", "SELECT 1"}, 1, "Authentication failed")
	wants("a user of another service", with("HASHPIVOT_NATS__USER=gateway", "HASHPIVOT_NATS__NKEY_FILE="+g.path("nkeys", "gateway.nk")), []string{"lander"}, 1, "NATS does not let user gateway")
	wants("live data where recorded data are", append(g.env("hashprice", "signals"), "HASHPIVOT_MODE=live", "HASHPIVOT_HASHPRICE__CALCULATOR__SOURCE=hashpivot",
		"HASHPIVOT_HASHPRICE__MEMPOOL__SOURCE=mempool", "HASHPIVOT_HASHPRICE__COINBASE__SOURCE=coinbase", "HASHPIVOT_HASHPRICE__COINMETRICS__SOURCE=coinmetrics",
		"HASHPIVOT_HASHPRICE__KRAKEN__SOURCE=kraken", "HASHPIVOT_HASHPRICE__BRAIINS__SOURCE=braiins", "HASHPIVOT_HASHPRICE__BITCOIND__SOURCE=bitcoind",
		"HASHPIVOT_HASHPRICE__LUXOR__SOURCE=luxor"), []string{"hashprice"}, 2, "this NATS holds recorded data and cannot take live data")

	// A second deployment's ClickHouse at this NATS: its lander lands nothing into it, and says so.
	other := &guarded{t: t, dir: t.TempDir(), ca: g.ca, cert: g.cert, key: g.key, nats: g.nats, mode: g.mode, config: g.config}
	other.startClickHouse(a)
	env := append(other.env("lander", "lander"), "HASHPIVOT_NATS__NKEY_FILE="+g.path("nkeys", "lander.nk"))
	if code, out := migrateOnly(t, g, other); code != 0 {
		t.Fatalf("migrate the other database: %s", out)
	}
	p := start(t, env, "-c", g.config, "lander")
	until(t, time.Minute, "the lander of another deployment is refused", func() bool {
		return strings.Contains(p.stderr.text(), "do not belong together")
	})
	p.kill()
	if n, err := other.sql("quant", "SELECT count() FROM bars"); err != nil || n != "0" {
		t.Errorf("the other deployment's database has %s bars, %v", n, err)
	}
}

// poolOf trusts the authorities of a file.
func poolOf(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

// migrateOnly brings the other deployment's schema up, without its NATS.
func migrateOnly(t *testing.T, g, other *guarded) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), "-c", g.config, "migrate")
	cmd.Env = append(os.Environ(), slices.DeleteFunc(other.env("migrate", "migrate"), func(kv string) bool { return strings.HasPrefix(kv, "HASHPIVOT_NATS__") })...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}
