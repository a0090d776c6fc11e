//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// PowerConfig is of a series of power cuts.
type PowerConfig struct {
	Config
	// Cuts, one after the other.
	Cuts int
	// What loses its power: "nats", "engine", or "all": both and the lander, as one machine does.
	What string
	// Warm is how long all works before each cut.
	Warm time.Duration
}

// PowerReport says what the cuts cost.
type PowerReport struct {
	PowerCut string  `json:"power_cut"`
	Sync     string  `json:"sync_interval"`
	Cuts     int     `json:"cuts"`
	WarmS    float64 `json:"warm_s"`
	Clean    bool    `json:"clean"`
	verdict
	// LostMessages of the streams: acknowledged sequences that the stream did not have any more after a cut, by cut.
	LostMessages []int `json:"lost_messages"`
	// Stuck tells that the landers would not go on by themselves.
	Stuck    string  `json:"stuck,omitempty"`
	Audit    audit   `json:"audit"`
	ElapsedS float64 `json:"elapsed_s"`
	Error    string  `json:"error,omitempty"`
	Dir      string  `json:"dir,omitempty"`
}

// JSON is the report as one line.
func (r PowerReport) JSON() string {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf(`{"error":%q}`, err)
	}
	return string(line)
}

// CutPower runs one NATS server, the engine and a lander over file systems whose power is cut, and counts what is gone afterwards. That something is
// lost is no error: it is the result.
func CutPower(ctx context.Context, cfg PowerConfig) (rep PowerReport, err error) {
	began := time.Now()
	rep = PowerReport{PowerCut: cfg.What, Sync: cfg.Sync, Cuts: cfg.Cuts, WarmS: cfg.Warm.Seconds()}
	defer func() {
		rep.ElapsedS = time.Since(began).Round(time.Millisecond).Seconds()
		rep.Clean = err == nil && rep.Lost == 0 && !rep.wrong() && rep.Stuck == "" && rep.Audit.Lost+rep.Audit.Duplicates == 0
		if err != nil {
			rep.Error = err.Error()
		}
	}()
	cfg.init()
	cfg.ReadTimeout = time.Minute // no answers are held back here
	s, end, err := newSystem(cfg.Config)
	if err != nil {
		return rep, err
	}
	p := &powered{system: s, cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x706f776572)), disk: map[string]*powerFS{}}
	s.after = p.unmount
	defer func() {
		end(err != nil || cfg.Keep)
		if err != nil || cfg.Keep {
			rep.Dir = s.dir
		}
	}()
	if err := p.start(ctx); err != nil {
		return rep, fmt.Errorf("start the system: %w", err)
	}
	for i := range cfg.Cuts {
		lost, err := p.cycle(ctx)
		if err != nil {
			return rep, fmt.Errorf("cut %d: %w", i+1, err)
		}
		rep.LostMessages = append(rep.LostMessages, lost)
	}
	return rep, p.result(ctx, &rep)
}

// powered is a system whose machines lose their power.
type powered struct {
	*system
	cfg  PowerConfig
	rng  *rand.Rand
	disk map[string]*powerFS // of nats-1, engine
}

func (p *powered) start(ctx context.Context) error {
	for _, d := range []string{"logs", "told"} {
		if err := os.MkdirAll(p.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := p.ownMounts(); err != nil {
		return err
	}
	for _, name := range []string{nodeName(0), engineName} {
		d, err := newPowerFS(p.path(name))
		if err != nil {
			return err
		}
		if err := p.spawn.do(d.mount); err != nil {
			return err
		}
		p.disk[name] = d
	}
	ports, err := freePorts(4, 20000+int(p.cfg.Seed%97)*100)
	if err != nil {
		return err
	}
	p.natsURL = []string{fmt.Sprintf("nats://127.0.0.1:%d", ports[0])}
	p.natsWeb = []string{fmt.Sprintf("127.0.0.1:%d", ports[1])}
	text := fmt.Sprintf(`
server_name: %s
listen: "127.0.0.1:%d"
http: %q
max_payload: 1MB
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1TB, sync_interval: %s }
`, nodeName(0), ports[0], p.natsWeb[0], p.disk[nodeName(0)].mountPoint, p.cfg.Sync)
	file := p.path(nodeName(0) + ".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	sp, err := childSpec(nodeName(0), childConfig{Role: "nats", File: file}, true)
	if err != nil {
		return err
	}
	node, err := p.spawn.run(p.procCtx, sp, p.path("logs"), p.system.cfg.note)
	if err != nil {
		return err
	}
	p.nats = []*proc{node}
	if err := p.startEngine(filepath.Join(p.disk[engineName].mountPoint, "data"), ports[2], ports[3]); err != nil {
		return err
	}
	return p.ready(ctx)
}

// unmount ends the file systems, when nothing uses them any more.
func (p *powered) unmount() {
	for name, d := range p.disk {
		if err := p.spawn.do(d.unmount); err != nil {
			p.system.cfg.note("unmount %s: %v", name, err)
		}
	}
}

// cycle is one cut. It returns how many messages of all streams were acknowledged before and are not there after.
func (p *powered) cycle(ctx context.Context) (lost int, err error) {
	rows := -1
	if err := p.wait(ctx, "rows to land before the power is cut", drainWithin, func(ctx context.Context) error {
		n, err := p.rowsOfTrades(ctx)
		switch {
		case err != nil:
			return err
		case rows < 0:
			rows = n
			fallthrough
		case n <= rows:
			return fmt.Errorf("there are %d, as before", n)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	_ = pass(ctx, p.cfg.Warm+time.Duration(500+p.rng.IntN(2500))*time.Millisecond)
	var hit []*proc
	var disks []*powerFS
	if p.cfg.What != engineName {
		hit, disks = append(hit, p.nats[0]), append(disks, p.disk[nodeName(0)])
	}
	if p.cfg.What != "nats" {
		hit, disks = append(hit, p.engine), append(disks, p.disk[engineName])
	}
	if p.cfg.What == "all" {
		hit = append(hit, p.landers...)
	}
	for _, x := range hit {
		x.hold()
	}
	before, err := p.lastSeqs(ctx)
	if err != nil {
		return 0, err
	}
	cutPower(disks...)
	for _, x := range hit {
		x.kill()
	}
	p.system.cfg.note("power cut: %s", p.cfg.What)
	p.load.signal(syscall.SIGSTOP) // until it is counted what is gone, nothing may be published
	defer p.load.signal(syscall.SIGCONT)
	for _, d := range disks {
		if err := p.wait(ctx, "the file system to be let go of", 30*time.Second, func(context.Context) error { return d.restore(p.spawn.do) }); err != nil {
			return 0, err
		}
	}
	for _, x := range hit {
		x.release()
	}
	if err := p.wait(ctx, "NATS after the cut", startWithin, p.natsReady); err != nil {
		return 0, err
	}
	var after map[string]uint64
	if err := p.wait(ctx, "the streams after the cut", startWithin, func(ctx context.Context) (err error) {
		after, err = p.lastSeqs(ctx)
		return err
	}); err != nil {
		return 0, err
	}
	for _, st := range market.Streams() {
		if b, a := before[string(st)], after[string(st)]; a < b {
			lost += int(b - a)
		}
	}
	return lost, nil
}

func (p *powered) rowsOfTrades(ctx context.Context) (n int, err error) {
	out, err := p.sql(ctx, "SELECT count() FROM trades", database)
	if err == nil {
		_, err = fmt.Sscan(out, &n)
	}
	return n, err
}

// result lets everything land that is there, and counts.
func (p *powered) result(ctx context.Context, rep *PowerReport) error {
	end, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := p.load.terminate(end); err != nil {
		return err
	}
	acked, err := readTold(p.path("told"))
	if err != nil {
		return err
	}
	if err := p.wait(ctx, "everything to land", drainWithin, p.drainedTo(ctx)); err != nil {
		rep.Stuck = err.Error()
	}
	// A last range may be under way; what is lost for good stays missing however long one waits.
	var last verdict
	_ = p.wait(ctx, "every acknowledged event", 20*time.Second, func(ctx context.Context) error {
		v, err := p.judge(ctx, acked)
		if err != nil {
			return err
		}
		if last = v; v.Lost > 0 {
			return errors.New("some are missing")
		}
		return nil
	})
	rep.verdict = last
	a, err := p.audit(ctx)
	if err != nil {
		rep.Stuck += " " + err.Error()
	}
	rep.Audit = a
	return nil
}
