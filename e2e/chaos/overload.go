//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// OverloadConfig of a load that is a multiple of what the pipeline lands.
type OverloadConfig struct {
	Binary string
	Dir    string // for everything; empty: a temporary one
	// For is how long the load lasts, Measure how long the capacity is measured before it.
	For, Measure time.Duration
	// Times the capacity is offered.
	Times float64
	// Land bounds about how many rows a second reach ClickHouse, by the bandwidth of the lander's way there, so that long runs fit the disk and the machine;
	// 0: as many as the machine lands.
	Land int
	// Disk is how many bytes everything may take.
	Disk int64
	Keep bool // the directory of a good run too
	Out  io.Writer
}

// DefaultOverloadConfig suits two processors and 8 GiB of disk.
func DefaultOverloadConfig() OverloadConfig {
	return OverloadConfig{Binary: "bin/hashpivot", For: 10 * time.Minute, Measure: 20 * time.Second, Times: 3, Land: 20_000, Disk: 8 << 30, Out: os.Stderr}
}

// OverloadReport is the result: its last line.
type OverloadReport struct {
	Clean   bool      `json:"clean"`
	Failed  []string  `json:"failed"`
	Seconds float64   `json:"seconds"`
	Load    [2]string `json:"load_averages"` // of the machine, at the beginning and the end
	// Capacity are the rows a second that landed while all that could land was published; Offered is what the upstream sent then.
	Capacity float64 `json:"capacity_rows_per_second"`
	Offered  float64 `json:"offered_events_per_second"`
	LoadS    float64 `json:"load_s"`

	Events eventCount `json:"events"`
	// Pressure is where it showed.
	Pressure struct {
		LagMessages uint64  `json:"lag_messages_max"`
		LagBytes    uint64  `json:"lag_bytes_max"`
		LagSeconds  float64 `json:"lag_seconds_max"` // at the capacity
		StreamBytes uint64  `json:"stream_bytes_max"`
		// Refusals are publishes that were tried again because the stream was full, FullS for how long it was; BlockedS is for how long the feed stood still because the publisher had no room.
		Refusals uint64  `json:"refused_publishes"`
		FullS    float64 `json:"stream_full_s"`
		BlockedS float64 `json:"publisher_blocked_s"`
		// Conflated are the messages that the gateway left out for clients, and told them.
		Conflated uint64 `json:"gateway_left_out"`
	} `json:"pressure"`
	// Memory of each process, MiB: the most in the second and in the last quarter of the load, and at any time.
	Memory map[string]*memory `json:"memory_mib"`
	Exits  map[string]string  `json:"exits"` // of processes that ended by themselves

	// RecoveryS is from the end of the load until all had landed, the feed had written down what it missed, and the clients knew everything.
	RecoveryS float64 `json:"recovery_s"`
	// Behind is how many events had not landed at the end of the load.
	Behind int64 `json:"behind_at_end"`
	Audit  struct {
		Published, Landed, Dead, Pending, Lost, Duplicates, Altered uint64
	} `json:"audit"`
	Clients map[string]clientCount `json:"clients"`
	Disk    int64                  `json:"disk_bytes_max"`
}

type memory struct {
	Early float64 `json:"early"`
	Late  float64 `json:"late"`
	Peak  float64 `json:"peak"`
}

// eventCount is what became of what the upstream sent.
type eventCount struct {
	Offered int64 `json:"offered"`
	Landed  int64 `json:"landed"`
	Missed  int64 `json:"missed"` // in lines of the ledger
	Lines   int   `json:"ledger_lines"`
	Lost    int64 `json:"lost"` // neither landed nor in a line
	Doubled int64 `json:"doubled"`
	Strange int64 `json:"strange"` // landed, and in a line
}

// clientCount is what a client was told.
type clientCount struct {
	Rows    uint64 `json:"rows"` // that there are of what it follows
	Told    uint64 `json:"told"`
	Skipped uint64 `json:"skipped"`
}

// JSON is the report as one line.
func (r OverloadReport) JSON() string {
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

const (
	floodSource    = "sim-flood"
	measuredSource = "sim-measured"
	// raisedBy is what an operator lets the full stream take more each time, as a part of what can land during the whole load, raisedAfter the part of
	// the load for which it was full before.
	raisedBy, raisedAfter = 0.15, 1. / 40
)

// overload is one run, on the stand of the rolling restarts: one NATS, the engine, processes of the built binary.
type overload struct {
	*roll
	cfg     OverloadConfig
	wires   *wires
	flood   *proc
	told    string // what the flood says
	began   time.Time
	samples []sample
	quarter time.Duration
	clients []*listener
	// perMessage are QUOTES' events and bytes a message under load.
	perMessage struct{ events, bytes float64 }
	rep        OverloadReport
}

// sample is one look at everything.
type sample struct {
	at     time.Duration // since the load began
	lag    uint64        // messages of QUOTES that had not landed
	bytes  uint64        // of QUOTES
	full   bool
	memory map[string]float64
}

// RunOverload offers a multiple of what the pipeline lands. The error says what was asked for and not met; the report says what was.
func RunOverload(ctx context.Context, cfg OverloadConfig) (rep OverloadReport, err error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	o := &overload{
		roll:  &roll{cfg: RollConfig{Binary: cfg.Binary, Out: cfg.Out}, name: "overload", dir: cfg.Dir, spawn: newSpawner(life), procs: map[string]*proc{}, admin: map[string]string{}, ctx: life},
		cfg:   cfg,
		wires: newWires(),
	}
	o.rep.Failed, o.rep.Memory, o.rep.Exits, o.rep.Clients = []string{}, map[string]*memory{}, map[string]string{}, map[string]clientCount{}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "overload"); err != nil {
			return o.rep, err
		}
	}
	began := time.Now()
	o.rep.Load[0] = loadAverage()
	err = o.run(ctx)
	o.rep.Seconds, o.rep.Load[1] = time.Since(began).Seconds(), loadAverage()
	for _, l := range o.clients {
		l.close()
	}
	if o.flood != nil {
		o.flood.stop()
		<-o.flood.gone
	}
	o.close()
	o.wires.close()
	if err != nil {
		o.rep.Failed = append(o.rep.Failed, err.Error())
	}
	o.rep.Clean = len(o.rep.Failed) == 0
	if !o.rep.Clean {
		o.note("everything is kept in %s", o.dir)
		return o.rep, errors.New(strings.Join(o.rep.Failed, "; "))
	}
	if !cfg.Keep && cfg.Dir == "" {
		return o.rep, os.RemoveAll(o.dir)
	}
	return o.rep, nil
}

func (o *overload) failed(format string, args ...any) {
	o.rep.Failed = append(o.rep.Failed, fmt.Sprintf(format, args...))
}

func (o *overload) run(ctx context.Context) error {
	if err := o.start(ctx); err != nil {
		return err
	}
	if err := o.measure(ctx); err != nil {
		return err
	}
	if err := o.listen(ctx); err != nil {
		return err
	}
	if err := o.load(ctx); err != nil {
		return err
	}
	return o.judge(ctx)
}

// overloaded are the services that run, each as one process.
var overloaded = []string{"lander", "gateway", "signals", "audit"}

// start brings everything up. NATS is one server: on one machine three would write everything three times to the same disk and show no other back-pressure.
func (o *overload) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(o.dir, "logs"), 0o700); err != nil {
		return err
	}
	ports, err := freePorts(4+len(overloaded), 23000+os.Getpid()%80*100)
	if err != nil {
		return err
	}
	o.natsURL, o.native, o.web = fmt.Sprintf("nats://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])
	o.gates = []string{fmt.Sprintf("127.0.0.1:%d", ports[3])}
	if err := o.servers(ctx, ports[0]); err != nil {
		return err
	}
	o.config = filepath.Join(o.dir, "hashpivot.yaml")
	text := fmt.Sprintf("mode: sim\nnats: {url: %q, max_bytes: %d}\nclickhouse: {addr: [%q], database: %s}\nsignals: {calendar: always}\naudit: {every: 1m, full_every: 0s}\n",
		o.natsURL, rollStreamBytes, o.native, database)
	if err := os.WriteFile(o.config, []byte(text), 0o600); err != nil {
		return err
	}
	if out, err := o.hashpivot(ctx, "migrate"); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.LookOnly = o.natsURL, true
	if o.bus, err = bus.Connect(cfg, nil, quietLog()); err != nil {
		return err
	}
	for i, name := range overloaded {
		o.admin[name] = fmt.Sprintf("127.0.0.1:%d", ports[4+i])
		args := []string{"--config", o.config, name, "--set", "admin.addr=" + o.admin[name], "--data-dir", filepath.Join(o.dir, "none")}
		switch name {
		case "gateway":
			args = append(args, "--set", "gateway.addr="+o.gates[0])
		case "audit":
			args = append(args, "--every", "1m")
		case "lander":
			more, err := o.narrow()
			if err != nil {
				return err
			}
			args = append(args, more...)
		}
		p, err := o.spawn.run(o.ctx, spec{name: name, path: o.cfg.Binary, args: args}, filepath.Join(o.dir, "logs"), o.note)
		if err != nil {
			return err
		}
		o.procs[name] = p
	}
	for _, name := range overloaded {
		if err := o.ready(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// rowBytes is about what a quote takes on the way to ClickHouse.
const rowBytes = 120

// narrow gives the lander a way to ClickHouse of a bounded bandwidth, and ranges that pass it in two seconds.
func (o *overload) narrow() ([]string, error) {
	if o.cfg.Land == 0 {
		return nil, nil
	}
	at, err := o.wires.lay("lander", engineName, o.native)
	if err != nil {
		return nil, err
	}
	for _, w := range o.wires.between("lander", engineName) {
		if err := w.add(toxic{"bandwidth", "upstream", map[string]any{"rate": o.cfg.Land * rowBytes / 1000}}); err != nil {
			return nil, err
		}
	}
	return []string{"--set", "clickhouse.addr=" + at, "--set", fmt.Sprintf("lander.max_rows=%d", 2*o.cfg.Land)}, nil
}

// bound lets each stream hold so many bytes, as an operator does.
func (o *overload) bound(ctx context.Context, maxBytes int64) error {
	_, err := o.hashpivot(ctx, "migrate", "--set", fmt.Sprintf("nats.max_bytes=%d", maxBytes))
	return err
}

// pour starts a flood.
func (o *overload) pour(name string, cfg floodConfig) (*proc, error) {
	cfg.NATS, cfg.Told = o.natsURL, filepath.Join(o.dir, name+".jsonl")
	o.told = cfg.Told
	sp, err := childSpec(name, childConfig{Role: "flood", Flood: &cfg}, false)
	if err != nil {
		return nil, err
	}
	return o.spawn.run(o.ctx, sp, filepath.Join(o.dir, "logs"), o.note)
}

// landed counts the rows of a source.
func (o *overload) landed(ctx context.Context, source string) (int64, error) {
	out, err := o.sql(ctx, fmt.Sprintf("SELECT (SELECT count() FROM quotes WHERE source = '%[1]s') + (SELECT count() FROM trades WHERE source = '%[1]s')", source))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(out, 10, 64)
}

// measure finds the capacity: what lands while as much is published as can land.
func (o *overload) measure(ctx context.Context) error {
	p, err := o.pour("measured", floodConfig{Source: measuredSource, For: o.cfg.Measure})
	if err != nil {
		return err
	}
	if err := pause(ctx, o.cfg.Measure/4); err != nil {
		return err
	}
	began := time.Now()
	from, err := o.landed(ctx, measuredSource)
	if err != nil {
		return err
	}
	if err := pause(ctx, o.cfg.Measure*3/4-time.Since(began)); err != nil {
		return err
	}
	to, err := o.landed(ctx, measuredSource)
	if err != nil {
		return err
	}
	if o.rep.Capacity = float64(to-from) / time.Since(began).Seconds(); o.rep.Capacity <= 0 {
		return errors.New("nothing landed while the capacity was measured")
	}
	err = o.poll(ctx, "what the capacity was measured with to land", startWithin, func(ctx context.Context) error {
		if how := p.lastExit(); how != "exit 0" {
			return fmt.Errorf("the load has not ended: %q", how)
		}
		t, err := readFlood(o.told)
		if err != nil {
			return err
		}
		n, err := o.landed(ctx, measuredSource)
		if err == nil && (n != t.Taken || !t.Ended) {
			err = fmt.Errorf("%d of %d have landed", n, t.Taken)
		}
		return err
	})
	if err != nil {
		return err
	}
	o.note("capacity %.0f rows/s", o.rep.Capacity)
	return nil
}

// load offers a multiple of the capacity and looks on.
func (o *overload) load(ctx context.Context) error {
	info, err := o.bus.Info(ctx, market.Quotes)
	if err != nil {
		return err
	}
	trades, err := o.bus.Info(ctx, market.Trades)
	if err != nil {
		return err
	}
	t, err := readFlood(o.told)
	if err != nil {
		return err
	}
	perEvent := float64(info.Bytes+trades.Bytes) / float64(t.Taken)
	more := int64(perEvent * o.rep.Capacity * o.cfg.For.Seconds() * raisedBy)
	limit := int64(info.Bytes) + more
	if err := o.bound(ctx, limit); err != nil {
		return err
	}
	o.rep.Offered = o.cfg.Times * o.rep.Capacity
	spacing := time.Duration(float64(time.Second) / o.rep.Offered)
	o.note("offering %.0f events/s for %s; QUOTES may hold %.0f MiB, of %.0f bytes an event", o.rep.Offered, o.cfg.For, float64(limit)/(1<<20), perEvent)
	if o.flood, err = o.pour("flood", floodConfig{Source: floodSource, Spacing: spacing, For: o.cfg.For}); err != nil {
		return err
	}
	o.began, o.quarter = time.Now(), o.cfg.For/4
	var full time.Time // since when
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for time.Since(o.began) < o.cfg.For {
		if err := o.look(ctx); err != nil {
			return err
		}
		switch {
		case !o.samples[len(o.samples)-1].full:
			full = time.Time{}
		case full.IsZero():
			full = time.Now()
		case time.Since(full).Seconds() > raisedAfter*o.cfg.For.Seconds():
			limit, full = limit+more, time.Time{}
			o.note("each stream may hold %.0f MiB", float64(limit)/(1<<20))
			if err := o.bound(ctx, limit); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	o.rep.LoadS = time.Since(o.began).Seconds()
	return o.recover(ctx, limit+2*more)
}

// look takes a sample, and holds that everything runs and the disk is not used up.
func (o *overload) look(ctx context.Context) error {
	s := sample{at: time.Since(o.began), memory: map[string]float64{}}
	info, err := o.bus.Info(ctx, market.Quotes)
	if err != nil {
		return err
	}
	l, _, err := o.bus.Landing(ctx, market.Quotes)
	if err != nil {
		return err
	}
	s.lag, s.bytes = info.LastSeq-max(l.First, 1)+1, info.Bytes
	// A message that does not fit is refused; one of ours is far below this.
	s.full = info.Bytes+uint64(256<<10) > uint64(info.MaxBytes)
	for name, p := range o.all() {
		if how := p.lastExit(); how != "" {
			o.rep.Exits[name] = how
			return fmt.Errorf("%s ended in the midst of the load: %s", name, how)
		}
		s.memory[name] = resident(append(p.children(), p.pid())...)
	}
	o.samples = append(o.samples, s)
	if len(o.samples)%15 == 1 {
		used, err := sizeOf(o.dir)
		if err != nil {
			return err
		}
		if o.rep.Disk = max(o.rep.Disk, used); used > o.cfg.Disk {
			return fmt.Errorf("everything takes %d bytes on the disk, allowed are %d", used, o.cfg.Disk)
		}
		t, err := readFlood(o.told)
		if err == nil {
			o.note("%3.0f s: offered %d, taken %d, missed %d, stored %d; QUOTES lags %d messages, holds %d MiB, full %t; disk %d MiB", s.at.Seconds(), t.Offered, t.Taken, t.Dropped, t.Stored,
				s.lag, s.bytes>>20, s.full, used>>20)
		}
	}
	return nil
}

// all are the processes by name.
func (o *overload) all() map[string]*proc {
	out := map[string]*proc{"nats": o.nats, engineName: o.engine}
	for name, p := range o.procs {
		out[name] = p
	}
	if o.flood != nil {
		out["flood"] = o.flood
	}
	return out
}

// resident memory of processes, MiB.
func resident(pids ...int) (sum float64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue // it has just ended
		}
		if f := strings.Fields(string(text)); len(f) > 1 {
			pages, _ := strconv.ParseFloat(f[1], 64)
			sum += pages * float64(os.Getpagesize()) / (1 << 20)
		}
	}
	return sum
}

// sizeOf is what the files of a directory take on the disk.
func sizeOf(dir string) (sum int64, _ error) {
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 0 {
			sum += st.Blocks * 512 / int64(st.Nlink)
		}
		return nil
	})
	return sum, err
}

// ignoreGone: files come and go while they are counted.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// recover lets the full stream take what the publisher holds still, and waits until everything has landed and everybody knows it.
func (o *overload) recover(ctx context.Context, maxBytes int64) error {
	began := time.Now()
	t, err := readFlood(o.told)
	if err != nil {
		return err
	}
	n, err := o.landed(ctx, floodSource)
	if err != nil {
		return err
	}
	o.rep.Behind = t.Taken - n
	o.note("the load is over; %d events that were taken have not landed", o.rep.Behind)
	if err := o.bound(ctx, maxBytes); err != nil {
		return err
	}
	for _, l := range o.clients {
		l.read()
	}
	within := o.recoverWithin()
	err = o.poll(ctx, "everything to land", within, func(ctx context.Context) error {
		if t, err = readFlood(o.told); err != nil {
			return err
		}
		if how := o.flood.lastExit(); how != "exit 0" || !t.Ended {
			return fmt.Errorf("the feed still holds something: it has stored %d of %d (%s)", t.Stored, t.Taken, how)
		}
		if n, err = o.landed(ctx, floodSource); err == nil && n < t.Taken {
			err = fmt.Errorf("%d of %d have landed", n, t.Taken)
		}
		return err
	})
	if err != nil {
		return err
	}
	landed := time.Since(began)
	// Who read nothing reads all of it from the tables now.
	err = o.poll(ctx, "the clients to know everything", max(within, o.cfg.For), func(ctx context.Context) error {
		for _, l := range o.clients {
			c, err := o.count(ctx, l)
			if err != nil {
				return err
			}
			if o.rep.Clients[l.name] = c; c.Told+c.Skipped < c.Rows {
				return fmt.Errorf("client %s was told %d and skipped %d of %d", l.name, c.Told, c.Skipped, c.Rows)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.rep.RecoveryS = time.Since(began).Seconds()
	info, err := o.bus.Info(ctx, market.Quotes)
	if err != nil {
		return err
	}
	out, err := o.sql(ctx, "SELECT count() FROM quotes")
	if err != nil {
		return err
	}
	quotes, err := strconv.ParseFloat(out, 64)
	if err != nil {
		return err
	}
	o.perMessage.events, o.perMessage.bytes = quotes/float64(info.Messages), float64(info.Bytes)/float64(info.Messages)
	o.note("everything has landed after %.1f s, everybody knows it after %.1f s", landed.Seconds(), o.rep.RecoveryS)
	o.rep.Pressure.Refusals, o.rep.Pressure.BlockedS = t.Retries, t.BlockedS
	return nil
}

// recoverWithin is what is asked for: twice the time that what is behind takes at the capacity, and a minute for what waits between two tries.
func (o *overload) recoverWithin() time.Duration {
	behind := time.Duration(float64(o.rep.Behind) / o.rep.Capacity * float64(time.Second))
	return time.Minute + 2*behind
}

// within are the samples of a part of the load.
func (o *overload) within(from, to time.Duration) []sample {
	return slices.DeleteFunc(slices.Clone(o.samples), func(s sample) bool { return s.at < from || s.at >= to })
}
