package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/audit"
)

// errNotClean ends the program with code 1 after the result has been printed.
var errNotClean = errors.New("the audit is not clean")

type auditCmd struct {
	Stream   []market.Stream `help:"Audit these streams only." placeholder:"STREAM"`
	Since    string          `help:"Messages stored from then on only: a date, a time, or a duration before now (72h)." placeholder:"TIME"`
	NoRecord bool            `name:"no-record" help:"Write neither the result nor the checksums into audits and audit_ranges."`
	Every    time.Duration   `help:"Go on as a service and audit so often (see audit.every); hashpivot up does that by itself." placeholder:"DURATION"`
}

// Run audits and prints the balance.
func (c *auditCmd) Run(a *app) error {
	if c.Every != 0 {
		if len(c.Stream) > 0 || c.Since != "" || c.NoRecord {
			return run.Usage(errors.New("--every audits all streams and records it; --stream, --since and --no-record are for a single audit"))
		}
		a.cli.Set = append(a.cli.Set, "audit.every="+c.Every.String())
		a.command = audit.LeaseName
		return (&serviceCmd{}).Run(a)
	}
	o := audit.Order{Streams: c.Stream, Record: !c.NoRecord, By: "command"}
	for _, st := range c.Stream {
		if !slices.Contains(market.Streams(), st) {
			return run.Usage(fmt.Errorf("--stream: there is no stream %.40q; the streams are %v", st, market.Streams()))
		}
	}
	var err error
	if o.Since, err = run.ParseTime(c.Since, time.Now()); err != nil {
		return run.Usage(fmt.Errorf("--since: %w", err))
	}
	if o.Since.After(time.Now()) {
		return run.Usage(fmt.Errorf("--since: %s is not over yet; give a time in the past", o.Since.Format(time.RFC3339)))
	}
	b, _, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	res, err := audit.Run(a.ctx, audit.Deps{Bus: b.bus, Store: b.store, Logger: a.log, Version: version()}, o)
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(res)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		printAudit(a, res)
	}
	if !res.Clean() {
		return errNotClean
	}
	return nil
}

func printAudit(a *app, res audit.Result) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "stream\tpublished\tlanded\tdead\tpending\tlost\tdoubled\taltered\taged\tverified\tunverified\t")
	for _, st := range market.Streams() {
		s, ok := res.Streams[st]
		if !ok {
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", st, s.Published, s.Landed, s.Dead, s.Pending, s.Lost, s.Doubled, s.Altered, s.Aged, s.Verified, s.Unverified)
	}
	_ = w.Flush()
	for _, d := range res.Differences {
		a.printf("%s\n", d)
	}
	for _, s := range res.UnverifiedSpans {
		if s.First == 0 {
			a.printf("%s: %d rows unverified: %s\n", s.Stream, s.Rows, s.Why)
		} else {
			a.printf("%s %d-%d: %d rows unverified: %s\n", s.Stream, s.First, s.Last, s.Rows, s.Why)
		}
	}
	for _, d := range res.Damaged {
		a.printf("earlier checksum of no use: %s\n", d)
	}
	verdict := "clean: published = landed + dead (+ pending), and every row is what its message says"
	if !res.Clean() {
		verdict = "NOT CLEAN"
	}
	least := ""
	if res.AtLeast {
		least = "at least "
	}
	a.printf("%slost %d, duplicates %d, altered %d: %s\n", least, res.Lost, res.Duplicates, res.Altered, verdict)
	if res.Unverified > 0 {
		a.printf("%d rows could not be verified: that is neither clean nor a difference (docs/audit.md)\n", res.Unverified)
	}
}

// newAudit makes the scheduled audit over the connections of this process.
func newAudit(a *app, cfg *config, b *backends, in *instruments) (*audit.Service, error) {
	deps := audit.Deps{Bus: b.bus, Store: b.store, Logger: a.log.With("service", audit.LeaseName), Version: version(), Tracer: in.tracing.Tracer()}
	return audit.NewService(cfg.Audit, deps, audit.NewMetrics(in.reg))
}

// serveAudit runs the service while its lease is ours: of several processes one audits.
func serveAudit(ctx context.Context, cfg *config, b *backends, s *audit.Service) error {
	lease := b.bus.Lease(audit.LeaseName, holder(), cfg.Lease.TTL)
	lease.KnowDead(deadHolder)
	return lease.Hold(ctx, s.Run)
}

// auditAlone runs the scheduled audit against the servers of the configuration or of an instance.
func (a *app) auditAlone(cfg *config, in *instruments) error {
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	in.on(b.bus)
	if err := b.prepare(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	b.watch(in.health)
	s, err := newAudit(a, cfg, b, in)
	if err != nil {
		return err
	}
	in.health.Check(audit.LeaseName, s.Health)
	return a.served(cfg, b, in, func() error { return serveAudit(a.ctx, cfg, b, s) })
}

// auditStatus is the last audit of all streams, of one kind.
type auditStatus struct {
	Kind       string    `json:"kind"`
	Ended      time.Time `json:"ended"`
	Clean      bool      `json:"clean"`
	Lost       uint64    `json:"lost"`
	Doubled    uint64    `json:"doubled"`
	Altered    uint64    `json:"altered"`
	Unverified uint64    `json:"unverified"`
	Failed     uint64    `json:"failed"` // streams whose audit could not be made
}

func lastAudits(ctx context.Context, b *backends) ([]auditStatus, error) {
	res, err := b.store.Query(ctx, "SELECT kind, min(ended), min(clean) = 1, sum(lost), sum(doubled), sum(altered), sum(unverified), countIf(error != '') FROM audits_now WHERE kind != 'since' GROUP BY kind ORDER BY kind")
	if err != nil {
		return nil, err
	}
	out := []auditStatus{}
	for _, r := range res.Rows {
		s := auditStatus{Kind: fmt.Sprint(r[0]), Clean: fmt.Sprint(r[2]) == "1" || fmt.Sprint(r[2]) == "true"}
		s.Ended, _ = r[1].(time.Time)
		s.Ended = s.Ended.UTC()
		s.Lost, _ = r[3].(uint64)
		s.Doubled, _ = r[4].(uint64)
		s.Altered, _ = r[5].(uint64)
		s.Unverified, _ = r[6].(uint64)
		s.Failed, _ = r[7].(uint64)
		out = append(out, s)
	}
	return out, nil
}

func (s auditStatus) text(now time.Time) string {
	verdict := "clean"
	switch {
	case s.Failed > 0:
		verdict = fmt.Sprintf("of %d streams could not be made (table audits says why)", s.Failed)
	case !s.Clean:
		verdict = fmt.Sprintf("NOT CLEAN: lost %d, doubled %d, altered %d (hashpivot audit)", s.Lost, s.Doubled, s.Altered)
	}
	if s.Unverified > 0 {
		verdict += fmt.Sprintf(", %d rows unverified", s.Unverified)
	}
	return fmt.Sprintf("audit %-5s %s ago: %s", s.Kind, short(now.Sub(s.Ended)), verdict)
}
