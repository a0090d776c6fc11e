package nightly

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// through is the last sequence of a stream up to which everything is in the tables. trouble says why that cannot be told.
func (s *Service) through(ctx context.Context, st market.Stream, info bus.Info) (seq uint64, trouble string, _ error) {
	l, ok, err := s.deps.Bus.Landing(ctx, st)
	if err != nil {
		return 0, "", err
	}
	if !ok {
		if info.LastSeq > 0 {
			return 0, "no lander has written down anything of it: is the lander running?", nil
		}
		return 0, "", nil
	}
	if l.Created != info.Created.UnixNano() {
		return 0, "the lander's record is of another life of the stream", nil
	}
	seq = max(l.First, 1) - 1
	if info.FirstSeq > 0 {
		seq = max(seq, info.FirstSeq-1) // what the stream holds no more can only have landed
	}
	if l.Last <= seq {
		return seq, "", nil
	}
	// The range in flight is landed whole where each of its events has a row, or is dead. The record moves on with the next message only, which of a
	// stream that has gone quiet is a night away.
	return s.landedWithin(ctx, st, info, max(l.First, info.FirstSeq, 1), l.Last)
}

// errPast ends a scan.
var errPast = errors.New("past what is looked at")

// landedWithin is the last sequence from first to last before which nothing is missing in the tables.
func (s *Service) landedWithin(ctx context.Context, st market.Stream, info bus.Info, first, last uint64) (uint64, string, error) {
	published := map[uint64]uint64{}
	err := s.deps.Bus.ScanCounts(ctx, st, first, func(m bus.Msg) error {
		if m.Seq > last {
			return errPast
		}
		published[m.Seq] = uint64(max(m.Events, 1))
		return nil
	})
	if err != nil && !errors.Is(err, errPast) {
		return 0, "", err
	}
	rows, err := s.deps.Store.Landed(ctx, st, info.Created, first, last)
	if err != nil {
		return 0, "", err
	}
	for _, r := range rows {
		if n, ok := published[r.Seq]; ok {
			published[r.Seq] = n - min(n, r.Distinct)
		}
	}
	missing := uint64(0)
	for _, n := range published {
		missing += n
	}
	if missing > 0 {
		if err := s.takeDead(ctx, st, info, first, last, published); err != nil {
			return 0, "", err
		}
	}
	for seq := first; seq <= last; seq++ {
		if published[seq] > 0 {
			return seq - 1, "", nil
		}
	}
	return last, "", nil
}

// takeDead takes from what is missing the events that can never land, which a letter says.
func (s *Service) takeDead(ctx context.Context, st market.Stream, info bus.Info, first, last uint64, missing map[uint64]uint64) error {
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf(
		"SELECT dead_seq, min(dead_idx) < 0, uniqExact(dead_idx) FROM dead_letters WHERE dead_stream = '%s' AND dead_created_s = %d AND dead_seq BETWEEN %d AND %d GROUP BY dead_seq",
		st, info.Created.Unix(), first, last))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		seq, _ := r[0].(uint64)
		whole, _ := r[1].(uint8)
		n, _ := r[2].(uint64)
		if whole == 1 {
			n = missing[seq]
		}
		missing[seq] -= min(missing[seq], n)
	}
	return nil
}

// ErrNotLanded says that the tables do not have yet what the notebooks are to see.
var ErrNotLanded = errors.New("not everything has landed")

// barrier fixes what the notebooks see: the newest stream time of all streams, or the one asked for, and waits until everything up to it has landed.
// Figures as of a moment that is not behind the lander would be others an hour later.
func (s *Service) barrier(ctx context.Context, asOf time.Time) (time.Time, error) {
	now := s.deps.Now().UTC()
	if asOf.IsZero() {
		for _, st := range market.Streams() {
			info, err := s.deps.Bus.Info(ctx, st)
			if err != nil {
				return time.Time{}, err
			}
			if info.LastSeq > 0 && info.LastTime.After(asOf) {
				asOf = info.LastTime
			}
		}
		if asOf.IsZero() {
			return time.Time{}, errors.New("fix the moment of the run: nothing was ever stored in the streams")
		}
	} else if asOf.After(now) {
		return time.Time{}, fmt.Errorf("run as of %s: that is not over yet, and figures as of it would change", asOf.Format(time.RFC3339Nano))
	}
	asOf = asOf.UTC()
	// Asked for after the moment is fixed: nothing is stored with an earlier time any more.
	targets := map[market.Stream]uint64{}
	for _, st := range market.Streams() {
		info, err := s.deps.Bus.Info(ctx, st)
		if err != nil {
			return time.Time{}, err
		}
		targets[st] = info.LastSeq
	}
	wait, cancel := context.WithTimeout(ctx, s.landWithin)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, err := s.behind(ctx, targets)
		if err != nil {
			return time.Time{}, err
		}
		if behind == "" {
			return asOf, s.deps.Store.CatchUp(ctx) // the notebooks ask whichever replica nightly.clickhouse_url names
		}
		select {
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-wait.Done():
			return time.Time{}, fmt.Errorf("%w within %s: %s; is the lander running?", ErrNotLanded, s.landWithin, behind)
		case <-tick.C:
		}
	}
}

// defaultLandWithin is how long the lander is waited for at the start of a run.
const defaultLandWithin = 2 * time.Minute

// behind names a stream that has not landed up to its target; those that have are taken off the list.
func (s *Service) behind(ctx context.Context, targets map[market.Stream]uint64) (string, error) {
	for st, target := range targets {
		info, err := s.deps.Bus.Info(ctx, st)
		if err != nil {
			return "", err
		}
		seq, trouble, err := s.through(ctx, st, info)
		switch {
		case err != nil:
			return "", err
		case target == 0:
		case trouble != "":
			return fmt.Sprintf("stream %s: %s", st, trouble), nil
		case seq < target:
			return fmt.Sprintf("stream %s has landed through %d of %d", st, seq, target), nil
		}
		delete(targets, st)
	}
	return "", nil
}
