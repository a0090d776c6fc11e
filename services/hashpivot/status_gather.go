package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// gatherWithin is how long one look at the pipeline may take.
const gatherWithin = 5 * time.Second

// gatherer looks at the pipeline, all parts at once: one that is away hides no other.
type gatherer struct {
	b   *backends
	cfg *config

	last   time.Time // of the look before; zero: none
	counts map[string]float64
	known  map[string]bool // who answered then
}

func newGatherer(b *backends, cfg *config) *gatherer {
	return &gatherer{b: b, cfg: cfg}
}

// look is one report that is being made.
type look struct {
	*gatherer
	rep statusReport

	mu        sync.Mutex
	presences []presence
	tables    map[string]uint64 // rows by table
	open      map[string]uint64 // open gaps by source
}

// gather makes a report.
func (g *gatherer) gather(ctx context.Context) statusReport {
	ctx, cancel := context.WithTimeout(ctx, gatherWithin)
	defer cancel()
	l := &look{gatherer: g, rep: statusReport{
		At: time.Now().UTC(), Version: version(), Database: g.cfg.ClickHouse.Database, Problems: []problem{}, Feeds: []feedStatus{}, Streams: map[market.Stream]streamStatus{},
		Landing: []landingStatus{}, Rejects: []rejectStatus{}, Leases: []leaseStatus{}, Processes: []processStatus{}, Audits: []auditStatus{}, Nightly: []nightStatus{}, Disks: []diskStatus{},
	}}
	var wg sync.WaitGroup
	for _, p := range []struct {
		name string
		read func(context.Context) error
	}{
		{"nats", l.server}, {"mode", l.mode}, {"streams", l.streams}, {"nats storage", l.storage}, {"leases", l.leases}, {"processes", l.processes},
		{"clickhouse", l.clickhouse}, {"tables", l.rows}, {"feeds", l.feeds}, {"gaps", l.gaps}, {"dead letters", l.dead}, {"audits", l.audits},
		{"nightly", l.nights}, {"clickhouse disks", l.disks},
	} {
		wg.Go(func() {
			if err := p.read(ctx); err != nil {
				l.mu.Lock()
				l.rep.Problems = append(l.rep.Problems, problem{p.name, strings.ReplaceAll(err.Error(), "\n", " ")})
				l.mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(l.rep.Problems, func(a, b problem) int { return strings.Compare(a.Part, b.Part) })
	slices.SortFunc(l.rep.Disks, func(a, b diskStatus) int { return strings.Compare(a.Of, b.Of) })
	l.join()
	g.last, g.counts = l.rep.At, l.rates()
	return l.rep
}

func (l *look) server(ctx context.Context) error {
	s, err := l.b.bus.Server(ctx)
	if err != nil && !errors.Is(err, bus.ErrNoUserInfo) {
		return err
	}
	l.rep.NATS = s.Version
	return nil
}

func (l *look) mode(ctx context.Context) error {
	m, _, err := l.b.bus.Cell("mode").Get(ctx)
	l.rep.Mode = mode(m)
	return err
}

// streams reads what they hold, and how far each has landed.
func (l *look) streams(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	landing := make([][]landingStatus, len(market.Streams()))
	for i, st := range market.Streams() {
		g.Go(func() error {
			v, err := l.b.bus.View(ctx, st)
			if err != nil {
				return err
			}
			if !v.Exists {
				return nil
			}
			rec, _, err := l.b.bus.Landing(ctx, st)
			if err != nil {
				return err
			}
			s := streamStatus{Messages: v.Messages, LastSeq: v.LastSeq, Landed: rec.Last, Bytes: v.Bytes, MaxBytes: v.MaxBytes, Shards: v.Shards}
			if v.LastSeq > 0 {
				s.LastTime = v.LastTime
			}
			s.Behind = v.LastSeq - min(rec.Last, v.LastSeq)
			l.mu.Lock()
			l.rep.Streams[st] = s
			l.mu.Unlock()
			all, err := l.b.bus.Progress(ctx, v.Info)
			if err != nil {
				return err
			}
			for _, p := range all {
				x := landingStatus{Stream: st, Shard: p.Shard.String(), Messages: p.Messages, Events: p.Events, AtLeast: p.Least}
				if !p.Since.IsZero() {
					x.Seconds = max(time.Now().Add(v.Offset).Sub(p.Since), 0).Seconds()
				}
				landing[i] = append(landing[i], x)
			}
			return nil
		})
	}
	err := g.Wait()
	l.rep.Landing = slices.Concat(landing...)
	return err
}

func (l *look) storage(ctx context.Context) error {
	s, err := l.b.bus.Storage(ctx)
	if err != nil || s.Most == 0 {
		return err
	}
	l.disk(diskStatus{"nats streams", s.Most - min(s.Used, s.Most), s.Most})
	return nil
}

func (l *look) disk(d diskStatus) {
	l.mu.Lock()
	l.rep.Disks = append(l.rep.Disks, d)
	l.mu.Unlock()
}

func (l *look) leases(ctx context.Context) error {
	holders, err := l.b.bus.Holders(ctx)
	for _, h := range holders {
		l.rep.Leases = append(l.rep.Leases, leaseStatus{h, !h.Held || time.Since(h.Renewed) > h.TTL})
	}
	return err
}

func (l *look) processes(ctx context.Context) (err error) {
	l.presences, err = presences(ctx, l.b.bus, l.known)
	l.known = map[string]bool{}
	for _, p := range l.presences {
		l.known[p.id()] = true
		l.rep.Processes = append(l.rep.Processes, processStatus{
			Service: p.Service, Holder: p.Holder, Version: p.Version, Admin: p.Admin, Started: p.Started, Ready: len(p.Trouble) == 0, Trouble: p.Trouble,
			Memory: uint64(p.sum(figureMemory)), Units: int(p.sum(figureUnits)), Refused: int(p.sum(figureRefused)),
		})
	}
	return err
}

func (l *look) clickhouse(ctx context.Context) error {
	s, err := l.b.store.Server(ctx)
	l.rep.Click = s.Version
	return err
}

// rows reads how many rows the tables have from what ClickHouse knows of their parts: it reads no table.
func (l *look) rows(ctx context.Context) error {
	res, err := l.b.store.Query(ctx, "SELECT table, sum(rows) FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table")
	if err != nil {
		return err
	}
	of := map[string]uint64{}
	for _, r := range res.Rows {
		of[fmt.Sprint(r[0])], _ = r[1].(uint64)
	}
	l.tables = of
	return nil
}

func (l *look) feeds(ctx context.Context) error {
	res, err := l.b.store.Query(ctx, "SELECT source, argMax(state, (event_time, stream_time, stream_seq, idx)), argMax(detail, (event_time, stream_time, stream_seq, idx)), max(event_time) FROM feed_events GROUP BY source ORDER BY source")
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		at, _ := r[3].(time.Time)
		l.rep.Feeds = append(l.rep.Feeds, feedStatus{Source: fmt.Sprint(r[0]), State: fmt.Sprint(r[1]), Detail: fmt.Sprint(r[2]), Since: at.UTC()})
	}
	return nil
}

func (l *look) gaps(ctx context.Context) error {
	res, err := l.b.store.Query(ctx, "SELECT source, countIf(state = 'open'), countIf(state IN ('partly', 'given_up')) FROM feed_gaps_now GROUP BY source")
	if err != nil {
		return err
	}
	of := map[string]uint64{}
	for _, r := range res.Rows {
		open, _ := r[1].(uint64)
		missing, _ := r[2].(uint64)
		of[fmt.Sprint(r[0])] = open
		l.rep.OpenGaps, l.rep.Missing = l.rep.OpenGaps+open, l.rep.Missing+missing
	}
	l.open = of
	return nil
}

// dead are the letters that nobody has taken in hand.
func (l *look) dead(ctx context.Context) error {
	res, err := l.b.store.Query(ctx, "SELECT dead_stream, source, reason, count(), max(stream_time) FROM dead_letters_now WHERE fate = 'dead' GROUP BY dead_stream, source, reason ORDER BY 4 DESC LIMIT 20")
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		n, _ := r[3].(uint64)
		at, _ := r[4].(time.Time)
		l.rep.Rejects = append(l.rep.Rejects, rejectStatus{Of: fmt.Sprint(r[0]), Source: fmt.Sprint(r[1]), Reason: fmt.Sprint(r[2]), Count: n, Last: at.UTC()})
	}
	return nil
}

func (l *look) audits(ctx context.Context) (err error) {
	l.rep.Audits, err = lastAudits(ctx, l.b)
	return err
}

// nightsShown are the trade dates whose last runs are shown.
const nightsShown = 5

func (l *look) nights(ctx context.Context) error {
	res, err := l.b.store.Query(ctx, fmt.Sprintf("SELECT toString(trade_date), "+nightlyColumns+
		" FROM research_runs_now WHERE notebook = '' ORDER BY trade_date DESC, started DESC LIMIT 1 BY trade_date LIMIT %d", nightsShown))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		l.rep.Nightly = append(l.rep.Nightly, nightStatus{fmt.Sprint(r[0]), nightlyRunOf(r[1:])})
	}
	return nil
}

func (l *look) disks(ctx context.Context) error {
	disks, err := l.b.store.Disks(ctx)
	for _, d := range disks {
		l.disk(diskStatus{"clickhouse " + d.Name, d.Free, d.Total})
	}
	return err
}

// join puts together what came from different places.
func (l *look) join() {
	for st, s := range l.rep.Streams {
		for _, t := range store.Tables(st) {
			s.Rows += l.tables[t]
		}
		l.rep.Streams[st] = s
	}
	for i := range l.rep.Feeds {
		f := &l.rep.Feeds[i]
		f.OpenGaps = l.open[f.Source]
		for _, p := range l.presences {
			for _, x := range p.Figures {
				if x.Name == figureLastEvent && x.Labels["source"] == f.Source {
					if at := time.UnixMilli(int64(x.Value * 1e3)).UTC(); at.After(f.LastEvent) {
						f.LastEvent = at
					}
				}
			}
		}
	}
	g := &l.rep.Gateways
	for _, p := range l.presences {
		if slices.ContainsFunc(p.Figures, func(f presenceFigure) bool { return f.Name == figureClients }) {
			g.Gateways++
		}
		g.Clients += uint64(p.sum(figureClients))
		g.Subscriptions += uint64(p.sum(figureSubscriptions))
		g.Dispatched += uint64(p.sum(figureDispatched))
		g.Deliveries += uint64(p.sum(figureDeliveries))
		g.SentBytes += uint64(p.sum(figureSentBytes))
		g.Skipped += uint64(p.sum(figureSkipped))
	}
}

// rates tells how fast the counters of all processes rise, by the look before, and returns them as they are now.
func (l *look) rates() map[string]float64 {
	now := map[string]float64{}
	seconds := l.rep.At.Sub(l.last).Seconds()
	// rise is what a counter of a process has gained. One that was not there before, or has begun anew, says nothing yet.
	rise := func(p presence, f presenceFigure) float64 {
		key := p.id() + f.Name + f.Labels["stream"]
		now[key] += f.Value
		was, ok := l.counts[key]
		if !ok || now[key] < was {
			return 0
		}
		return now[key] - was
	}
	rows := map[market.Stream]float64{}
	var dispatched, deliveries, bytes float64
	for _, p := range l.presences {
		for _, f := range p.Figures {
			switch f.Name {
			case figureRows:
				rows[market.Stream(f.Labels["stream"])] += rise(p, f)
			case figureDispatched:
				dispatched += rise(p, f)
			case figureDeliveries:
				deliveries += rise(p, f)
			case figureSentBytes:
				bytes += rise(p, f)
			}
		}
	}
	if l.last.IsZero() || seconds <= 0 {
		return now
	}
	per := func(n float64) *float64 { n /= seconds; return &n }
	total := 0.0
	for st, s := range l.rep.Streams {
		s.RowsPerSecond = per(rows[st])
		l.rep.Streams[st] = s
		total += rows[st]
	}
	if slices.ContainsFunc(l.rep.Processes, func(p processStatus) bool { return p.Units > 0 }) {
		l.rep.RowsPerSecond = per(total)
	}
	if l.rep.Gateways.Gateways > 0 {
		l.rep.Gateways.DispatchedPerSecond, l.rep.Gateways.DeliveriesPerSecond, l.rep.Gateways.BytesPerSecond = per(dispatched), per(deliveries), per(bytes)
	}
	return now
}
