package audit

import (
	"context"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// LeaseName is the lease that the scheduled audit runs on: one process audits.
const LeaseName = "audit"

// Service audits on a schedule.
type Service struct {
	cfg     Config
	deps    Deps
	metrics *Metrics
	now     func() time.Time

	mu      sync.Mutex
	trouble error // of the last audit that was made or not
}

// NewService checks the configuration; Run does the work.
func NewService(cfg Config, deps Deps, metrics *Metrics) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	return &Service{cfg: cfg, deps: deps, metrics: metrics, now: time.Now}, nil
}

// Health is why the last audit could not be made; nil: it could, or none was due. What it found is no trouble of the service.
func (s *Service) Health(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// settle is how long after a start the first audit waits: what was in flight when the process ended lands first.
const settle = time.Minute

// Run audits until ctx ends. An audit that cannot be made is told and made again when its turn comes: it stops nothing.
func (s *Service) Run(ctx context.Context) error {
	if s.cfg.Every == 0 {
		<-ctx.Done()
		return nil
	}
	lastNew, lastFull := s.lastMade(ctx)
	wait := max(lastNew.Add(s.cfg.Every).Sub(s.now()), min(settle, s.cfg.Every))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		kind := KindNew
		if s.cfg.FullEvery > 0 && s.now().Sub(lastFull) >= s.cfg.FullEvery {
			kind = KindFull
		}
		start := s.now()
		res, err := s.Once(ctx, kind)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && kind == KindFull {
			lastFull = start
			if res.Clean() {
				s.retire(ctx)
			}
		}
		wait = max(s.cfg.Every-s.now().Sub(start), time.Second)
	}
}

// lastMade asks when audits of both kinds were made last: a restart makes none before its time.
func (s *Service) lastMade(ctx context.Context) (lastNew, lastFull time.Time) {
	for _, st := range market.Streams() {
		if r, ok, err := s.deps.Store.LastAudit(ctx, st, KindFull); err == nil && ok && (lastFull.IsZero() || r.Ended.Before(lastFull)) {
			lastFull = r.Ended
		} else if err == nil && !ok {
			return s.newest(ctx), time.Time{} // a stream was never audited whole
		}
	}
	return s.newest(ctx), lastFull
}

func (s *Service) newest(ctx context.Context) (t time.Time) {
	for _, st := range market.Streams() {
		if r, ok, err := s.deps.Store.LastAudit(ctx, st, KindNew, KindFull); err == nil && ok && r.Ended.After(t) {
			t = r.Ended
		}
	}
	return t
}

// Once makes one audit and tells what it found: a row for each stream, metrics, and an error in the log where something is not as it should be.
func (s *Service) Once(ctx context.Context, kind string) (Result, error) {
	start := time.Now()
	res, err := Run(ctx, s.deps, Order{Kind: kind, Record: true, By: "service", Threads: s.cfg.Threads, Share: s.cfg.Share})
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	took := time.Since(start)
	s.mu.Lock()
	s.trouble = err
	s.mu.Unlock()
	switch {
	case err != nil:
		s.metrics.failed.Inc()
		s.deps.Logger.Error("the audit could not be made whole; it is made again when its turn comes", "kind", kind, "err", err)
	case !res.Clean():
		s.deps.Logger.Error("the audit is not clean; hashpivot audit names the places", "kind", kind, "lost", res.Lost, "doubled", res.Duplicates, "altered", res.Altered, "audit_id", res.ID)
	default:
		s.deps.Logger.Info("audit clean", "kind", kind, "unverified", res.Unverified, "took", took.Round(time.Millisecond))
	}
	for _, d := range res.Damaged {
		s.deps.Logger.Warn("an earlier checksum is of no use", "what", d)
	}
	if err == nil {
		s.metrics.told(kind, res, took.Seconds(), float64(time.Now().UnixMilli())/1e3)
	}
	return res, err
}

// retire removes what its tables need not keep any more.
func (s *Service) retire(ctx context.Context) {
	plan, err := Plan(ctx, s.deps, s.cfg.Retention, s.now())
	if err != nil {
		s.deps.Logger.Error("what the retention removes could not be found; it is tried again behind the next full audit", "err", err)
		return
	}
	for _, r := range plan {
		if r.Waits != "" {
			s.deps.Logger.Info("old rows are kept for now", "table", r.Table, "partition", r.Partition, "rows", r.Rows, "because", r.Waits)
			continue
		}
		if err := Retire(ctx, s.deps, r); err != nil {
			s.deps.Logger.Error("old rows could not be removed; the next audit goes on with it", "table", r.Table, "partition", r.Partition, "err", err)
			return
		}
		s.deps.Logger.Info("old rows removed", "table", r.Table, "partition", r.Partition, "rows", r.Rows, "newest", r.Newest)
	}
}
