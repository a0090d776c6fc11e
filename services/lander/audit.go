package lander

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// StreamAudit is the balance of one stream, in events.
type StreamAudit struct {
	// Published are the events that the stream holds; Landed are the different ones of them in ClickHouse; Dead those that can never land;
	// Pending those stored behind the lander's record, whose turn has not come.
	Published uint64 `json:"published"`
	Landed    uint64 `json:"landed"`
	Dead      uint64 `json:"dead"`
	Pending   uint64 `json:"pending,omitempty"`
	// Aged counts rows of messages that the stream no longer holds: they cannot be compared any more.
	Aged uint64 `json:"aged,omitempty"`
}

// Difference is a run of sequences whose two sides do not agree.
type Difference struct {
	Stream    market.Stream `json:"stream"`
	First     uint64        `json:"first"`
	Last      uint64        `json:"last"`
	Published uint64        `json:"published"`
	Landed    uint64        `json:"landed"`
	Dead      uint64        `json:"dead"`
	Doubled   uint64        `json:"doubled"`
}

// AuditResult says whether published = landed + dead, sequence by sequence.
type AuditResult struct {
	Streams map[market.Stream]StreamAudit `json:"streams"`
	// Lost events are published, not pending, and neither landed nor dead. Duplicates are rows that stand twice, or that no message explains.
	Lost        uint64       `json:"lost"`
	Duplicates  uint64       `json:"duplicates"`
	Differences []Difference `json:"differences,omitempty"`
}

// Clean reports whether nothing is lost and nothing doubled.
func (r AuditResult) Clean() bool { return r.Lost == 0 && r.Duplicates == 0 && len(r.Differences) == 0 }

// auditChunk is how many sequences are compared at once, which bounds the memory.
const auditChunk = 100_000

// maxDifferences bounds the list in a result; the counts are complete.
const maxDifferences = 1000

// Audit compares what the streams hold with what ClickHouse has. It reads headers only, so it is cheap enough to run beside the lander.
func Audit(ctx context.Context, b *bus.Bus, s *store.Store, streams []market.Stream) (AuditResult, error) {
	if len(streams) == 0 {
		streams = market.Streams()
	}
	out := AuditResult{Streams: map[market.Stream]StreamAudit{}}
	dead, err := deadCounts(ctx, b)
	if err != nil {
		return out, err
	}
	for _, st := range streams {
		if err := out.stream(ctx, b, s, st, dead[st]); err != nil {
			return out, fmt.Errorf("audit stream %s: %w", st, err)
		}
	}
	return out, nil
}

// deadSet says what of a stream is dead: by sequence the number of events, -1 for the whole message.
type deadSet map[uint64]int

// deadCounts reads DEAD itself: a letter counts from when it is stored, whether or not it has landed in its table.
func deadCounts(ctx context.Context, b *bus.Bus) (map[market.Stream]deadSet, error) {
	out := map[market.Stream]deadSet{}
	created := map[market.Stream]int64{}
	for _, st := range market.Streams() {
		info, err := b.Info(ctx, st)
		if err != nil {
			return nil, err
		}
		created[st], out[st] = info.Created.Unix(), deadSet{}
	}
	err := b.ScanAll(ctx, market.Dead, func(m bus.Msg) error {
		// A letter that does not decode is itself dead: the lander has written one for it.
		events, _ := wire.Decode(market.Dead, m.Data)
		for _, ev := range events {
			d := ev.(*market.DeadLetter)
			set, ok := out[market.Stream(d.Of)]
			switch {
			case !ok || d.Created != created[market.Stream(d.Of)]:
			case d.Idx < 0:
				set[d.Seq] = -1
			case set[d.Seq] >= 0:
				set[d.Seq]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return out, nil
}

func (r *AuditResult) stream(ctx context.Context, b *bus.Bus, s *store.Store, st market.Stream, dead deadSet) error {
	info, err := b.Info(ctx, st)
	if err != nil {
		return err
	}
	rec, ok, err := b.Landing(ctx, st)
	if err != nil {
		return err
	}
	if ok && rec.Created != info.Created.UnixNano() {
		return fmt.Errorf("%w: the record is of another life of the stream", ErrNewLife)
	}
	sum := StreamAudit{}
	// Rows of the range that is in flight may or may not be there; it is settled when the record has moved on. So the audit speaks of what is
	// before the record's range, and of the range itself only as far as its rows are there.
	settled := uint64(0)
	if ok {
		settled = rec.First - 1
	}
	if info.FirstSeq > 1 {
		aged, err := s.RowsBelow(ctx, st, info.FirstSeq)
		if err != nil {
			return err
		}
		sum.Aged = aged
	}

	chunk := map[uint64]int{} // events by sequence
	from := max(info.FirstSeq, 1)
	compare := func(to uint64) error {
		landed, err := s.Landed(ctx, st, from, to)
		if err != nil {
			return err
		}
		seen := make(map[uint64]store.SeqCount, len(landed))
		for _, l := range landed {
			seen[l.Seq] = l
		}
		for seq := from; seq <= to; seq++ {
			l := seen[seq]
			pub, distinct := uint64(chunk[seq]), l.Distinct
			gone := pub // the whole message is dead
			if n := dead[seq]; n >= 0 {
				gone = uint64(n)
			}
			doubled := l.Rows - distinct
			sum.Published += pub
			sum.Landed += distinct
			sum.Dead += gone
			r.Duplicates += doubled
			missing := uint64(0)
			switch {
			case distinct+gone > pub: // rows that no message explains
				r.Duplicates += distinct + gone - pub
			case distinct+gone < pub:
				missing = pub - distinct - gone
			}
			if missing > 0 && seq > settled {
				sum.Pending += missing
				missing = 0
			}
			r.Lost += missing
			if missing > 0 || doubled > 0 || distinct+gone > pub {
				r.differ(Difference{Stream: st, First: seq, Last: seq, Published: pub, Landed: distinct, Dead: gone, Doubled: doubled})
			}
		}
		clear(chunk)
		from = to + 1
		return nil
	}
	err = b.ScanCounts(ctx, st, from, func(m bus.Msg) error {
		if m.Seq > info.LastSeq {
			return errEnd // published since; the audit speaks of one moment
		}
		n := m.Events
		if n == 0 { // foreign: it does not say how many events it holds
			whole, err := b.Get(ctx, st, m.Seq)
			if err != nil {
				return err
			}
			n = 1
			if events, err := wire.Decode(st, whole.Data); err == nil {
				n = len(events)
			}
		}
		for m.Seq > from+auditChunk {
			if err := compare(from + auditChunk - 1); err != nil {
				return err
			}
		}
		chunk[m.Seq] = n
		return nil
	})
	if err != nil && !errors.Is(err, errEnd) {
		return err
	}
	for from <= info.LastSeq {
		if err := compare(min(from+auditChunk-1, info.LastSeq)); err != nil {
			return err
		}
	}
	r.Streams[st] = sum
	return nil
}

var errEnd = errors.New("end of what is audited")

// differ adds a difference, joined to the one before where they touch.
func (r *AuditResult) differ(d Difference) {
	if n := len(r.Differences); n > 0 {
		if last := &r.Differences[n-1]; last.Stream == d.Stream && last.Last+1 == d.First {
			last.Last = d.Last
			last.Published += d.Published
			last.Landed += d.Landed
			last.Dead += d.Dead
			last.Doubled += d.Doubled
			return
		}
	}
	if len(r.Differences) < maxDifferences {
		r.Differences = append(r.Differences, d)
	}
}
