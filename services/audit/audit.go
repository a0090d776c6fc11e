// Package audit compares what the streams hold, or held, with what the tables have: the proof of the promise that every published row lands exactly once.
//
// The messages are read and decoded again as the lander does, and each row gets a checksum (pkg/store); ClickHouse makes the same checksums of the rows that it
// has. Both are summed up by ranges of sequences, so that a range that is whole costs two numbers, and only one that differs is looked into. Ranges are
// written down (audit_ranges): once the stream holds their messages no more, the rows are held against that. docs/audit.md says what each word means.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Deps is what an audit works with.
type Deps struct {
	Bus     *bus.Bus
	Store   *store.Store
	Logger  *slog.Logger // nil: silent
	Version string       // of the program, written into the rows
	Tracer  trace.Tracer // nil: nothing is traced
}

// The kinds of audits.
const (
	// KindFull compares all that the streams hold, and what they held with earlier checksums.
	KindFull = "full"
	// KindNew compares what came since the audit before.
	KindNew = "new"
	// KindSince compares what was stored from a time on.
	KindSince = "since"
)

// Order says what to audit and how.
type Order struct {
	Streams []market.Stream // empty: all
	Kind    string          // empty: full, or since where Since is set
	// Since limits a KindSince audit to messages that JetStream stored from then on.
	Since time.Time
	// Record writes the result and the checksums into audits and audit_ranges, by By.
	Record bool
	By     string
	// Threads bounds the engine's threads for a query; 0: as it likes. Share is the share of one core that decoding may take; 0: all.
	Threads int
	Share   float64
}

// StreamResult is the balance of one stream, in events.
type StreamResult struct {
	// Published are the events of the messages compared; Landed are the different ones of them in ClickHouse; Dead those that have a dead letter;
	// Pending those stored behind the lander's record, whose turn has not come.
	Published uint64 `json:"published"`
	Landed    uint64 `json:"landed"`
	Dead      uint64 `json:"dead"`
	Pending   uint64 `json:"pending,omitempty"`
	Lost      uint64 `json:"lost,omitempty"`
	Doubled   uint64 `json:"doubled,omitempty"`
	Altered   uint64 `json:"altered,omitempty"`
	// Aged counts rows of messages that the stream no longer holds. Verified of them are in ranges that an earlier audit knew. Unverified are all rows that
	// could not be compared. Only a full audit counts them.
	Aged       uint64 `json:"aged,omitempty"`
	Verified   uint64 `json:"verified,omitempty"`
	Unverified uint64 `json:"unverified,omitempty"`
	// First and Last are what was compared; up to Settled everything had to be there.
	First   uint64 `json:"first_seq"`
	Last    uint64 `json:"last_seq"`
	Settled uint64 `json:"settled_seq"`

	life, started time.Time
}

func (s StreamResult) clean() bool { return s.Lost == 0 && s.Doubled == 0 && s.Altered == 0 }

// Difference is a run of sequences whose two sides do not agree.
type Difference struct {
	Stream    market.Stream `json:"stream"`
	First     uint64        `json:"first"`
	Last      uint64        `json:"last"`
	Published uint64        `json:"published"`
	Landed    uint64        `json:"landed"`
	Dead      uint64        `json:"dead"`
	Lost      uint64        `json:"lost"`
	Doubled   uint64        `json:"doubled"`
	Altered   uint64        `json:"altered"`
	// Gone tells that the stream holds the messages no more: Published is what an earlier audit saw of them, of the life that began at Life.
	Gone bool       `json:"gone,omitempty"`
	Life *time.Time `json:"life,omitempty"`
	// AtLeast tells that there may be more: the run was compared as a whole.
	AtLeast bool `json:"at_least,omitempty"`
}

func (d Difference) String() string {
	text := fmt.Sprintf("%s %d-%d: published %d, landed %d, dead %d: ", d.Stream, d.First, d.Last, d.Published, d.Landed, d.Dead)
	if d.AtLeast {
		text += "at least "
	}
	text += fmt.Sprintf("lost %d, doubled %d, altered %d", d.Lost, d.Doubled, d.Altered)
	if d.Gone {
		text += " (the stream holds the messages no more; published is what an earlier audit saw)"
	}
	return text
}

// Span is a run of sequences of which rows could not be compared, and why.
type Span struct {
	Stream market.Stream `json:"stream"`
	First  uint64        `json:"first,omitempty"`
	Last   uint64        `json:"last,omitempty"`
	Rows   uint64        `json:"rows"`
	Why    string        `json:"why"`
}

// Result says whether published = landed + dead, sequence by sequence and value by value.
type Result struct {
	Streams map[market.Stream]StreamResult `json:"streams"`
	// Lost events are published, not pending, and neither landed nor dead. Duplicates are rows that stand twice, or that no message explains. Altered rows
	// are not what their message says. Unverified rows could not be compared, which is no difference, but no proof either.
	Lost       uint64 `json:"lost"`
	Duplicates uint64 `json:"duplicates"`
	Altered    uint64 `json:"altered"`
	Unverified uint64 `json:"unverified"`
	// AtLeast tells that there were too many differences to look into each: the counts are lower bounds.
	AtLeast         bool         `json:"at_least,omitempty"`
	Differences     []Difference `json:"differences,omitempty"`
	UnverifiedSpans []Span       `json:"unverified_spans,omitempty"`
	// Damaged tells of rows of audit_ranges that say what cannot be; their ranges count as unverified.
	Damaged []string `json:"damaged,omitempty"`
	// ID is the audit's name in the table audits; empty: it was not recorded.
	ID string `json:"audit_id,omitempty"`
}

// Clean reports whether nothing is lost, doubled or altered.
func (r Result) Clean() bool {
	return r.Lost == 0 && r.Duplicates == 0 && r.Altered == 0 && len(r.Differences) == 0
}

// The lists of a result are bounded; the counts are complete.
const (
	maxDifferences = 1000
	maxSpans       = 200
	maxDamaged     = 20
)

// Audit compares all that the streams hold, and what they held with earlier checksums, and records nothing. No streams: all.
func Audit(ctx context.Context, b *bus.Bus, s *store.Store, streams []market.Stream) (Result, error) {
	return Run(ctx, Deps{Bus: b, Store: s}, Order{Streams: streams})
}

// Run audits. What was found of each stream is recorded before the next one is begun. An error of one stream does not hinder the others.
func Run(ctx context.Context, deps Deps, o Order) (Result, error) {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Streams) == 0 {
		o.Streams = market.Streams()
	}
	if o.Kind == "" {
		o.Kind = KindFull
		if !o.Since.IsZero() {
			o.Kind = KindSince
		}
	}
	if o.Kind == KindSince && o.Since.After(time.Now()) {
		return Result{}, fmt.Errorf("audit since %s: that is not over yet; give a time in the past", o.Since.Format(time.RFC3339))
	}
	if err := Finish(ctx, deps); err != nil {
		deps.Logger.Warn("a removal of old rows that was interrupted could not be finished; until it is, the audit counts its rows as differences", "err", err)
	}
	out := Result{Streams: map[market.Stream]StreamResult{}}
	if o.Record {
		out.ID = nuid.Next()
	}
	ctx, whole := span(ctx, deps.Tracer, "audit")
	defer func() { whole.End() }()
	var failed []error
	for _, st := range o.Streams {
		a := &streamAudit{deps: deps, order: o, res: &out, stream: st}
		err := a.traced(ctx)
		if ctx.Err() != nil {
			return out, fmt.Errorf("audit stream %s: %w", st, context.Cause(ctx))
		}
		out.Streams[st] = a.sum
		if o.Record {
			var werr error
			if err == nil {
				werr = a.writeRanges(ctx)
			}
			werr = errors.Join(werr, a.record(ctx, errors.Join(err, werr)))
			if store.IsSchema(werr) { // a database of an older version, or one that may only be read
				deps.Logger.Warn("the audit is not recorded; run hashpivot migrate, or let the user write into audits and audit_ranges", "stream", string(st), "err", werr)
				werr, out.ID, o.Record = nil, "", false
			}
			err = errors.Join(err, werr)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("audit stream %s: %w", st, err))
		}
	}
	if whole.IsRecording() {
		whole.SetAttributes(attribute.String("hashpivot.kind", o.Kind), attribute.String("hashpivot.audit_id", out.ID), attribute.Bool("hashpivot.clean", out.Clean()),
			attribute.Int64("hashpivot.lost", int64(out.Lost)), attribute.Int64("hashpivot.doubled", int64(out.Duplicates)), attribute.Int64("hashpivot.altered", int64(out.Altered)))
	}
	return out, errors.Join(failed...)
}

// span begins a span, if there is a tracer.
func span(ctx context.Context, t trace.Tracer, name string) (context.Context, trace.Span) {
	if t == nil {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return t.Start(ctx, name)
}

// traced audits the stream in a span of its own.
func (a *streamAudit) traced(ctx context.Context) error {
	ctx, sp := span(ctx, a.deps.Tracer, "audit stream")
	defer sp.End()
	err := a.run(ctx)
	if sp.IsRecording() {
		sp.SetAttributes(attribute.String("hashpivot.stream", string(a.stream)), attribute.Int64("hashpivot.published", int64(a.sum.Published)), attribute.Int64("hashpivot.landed", int64(a.sum.Landed)))
	}
	if err != nil {
		sp.RecordError(err)
		sp.SetStatus(codes.Error, "")
	}
	return err
}

// record writes the row of the stream.
func (a *streamAudit) record(ctx context.Context, failed error) error {
	s := a.sum
	row := store.AuditRow{
		ID: a.res.ID, Stream: a.stream, Life: cmp.Or(s.life, time.Unix(0, 0).UTC()), Kind: a.order.Kind, By: a.order.By, Started: s.started, Ended: time.Now().UTC(), First: s.First, Last: s.Last,
		Settled: s.Settled, Published: s.Published, Landed: s.Landed, Dead: s.Dead, Pending: s.Pending, Lost: s.Lost, Doubled: s.Doubled, Altered: s.Altered, Aged: s.Aged,
		Unverified: s.Unverified, Exact: !a.atLeast, Clean: s.clean() && failed == nil, CodeVersion: a.deps.Version,
	}
	if failed != nil {
		row.Error = failed.Error()
	}
	n := 0
	for _, d := range a.res.Differences {
		if d.Stream == a.stream && n < 5 {
			if n++; n > 1 {
				row.Detail += "; "
			}
			row.Detail += d.String()
		}
	}
	return a.deps.Store.AddAudit(ctx, row)
}

// differ adds a difference, joined to the one before where they touch.
func (r *Result) differ(d Difference) {
	if n := len(r.Differences); n > 0 {
		if last := &r.Differences[n-1]; last.Stream == d.Stream && last.Last+1 == d.First && last.Gone == d.Gone && last.AtLeast == d.AtLeast && d.Life == nil && last.Life == nil {
			last.Last = d.Last
			last.Published += d.Published
			last.Landed += d.Landed
			last.Dead += d.Dead
			last.Lost += d.Lost
			last.Doubled += d.Doubled
			last.Altered += d.Altered
			return
		}
	}
	if len(r.Differences) < maxDifferences {
		r.Differences = append(r.Differences, d)
	}
}

// unverified adds rows that could not be compared, joined to the span before where they touch.
func (r *Result) unverified(s Span) {
	if n := len(r.UnverifiedSpans); n > 0 {
		if last := &r.UnverifiedSpans[n-1]; last.Stream == s.Stream && last.Why == s.Why && last.Last+1 == s.First {
			last.Last, last.Rows = s.Last, last.Rows+s.Rows
			return
		}
	}
	if len(r.UnverifiedSpans) < maxSpans {
		r.UnverifiedSpans = append(r.UnverifiedSpans, s)
	}
}

func (r *Result) damaged(err error) {
	if len(r.Damaged) < maxDamaged {
		r.Damaged = append(r.Damaged, err.Error())
	}
}
