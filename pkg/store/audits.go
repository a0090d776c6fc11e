package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// AuditRow is a row of audits: what an audit found of one stream. The table's comments say what each field is.
type AuditRow struct {
	ID                                                                         string
	Stream                                                                     market.Stream
	Life                                                                       time.Time
	Kind, By                                                                   string
	Started, Ended                                                             time.Time
	First, Last, Settled                                                       uint64
	Published, Landed, Dead, Pending, Lost, Doubled, Altered, Aged, Unverified uint64
	Exact, Clean                                                               bool
	Detail, Error, CodeVersion                                                 string
}

// AuditRange is a row of audit_ranges: the checksum of what a stream held of a range, of one table.
type AuditRange struct {
	Stream      market.Stream
	Table       string
	Life        time.Time
	First, Last uint64
	From, To    time.Time // stream times of the first and the last message
	Rows, Sum   uint64
	Columns     []string
}

// ErrDamagedRange is a row of audit_ranges that says what cannot be.
var ErrDamagedRange = errors.New("row of audit_ranges is damaged")

// check says what is wrong with a range that was read.
func (r AuditRange) check() error {
	tables := Tables(r.Stream)
	known := false
	for _, t := range tables {
		known = known || t == r.Table
	}
	switch {
	case !known:
		return fmt.Errorf("%w: table %.32q is none of stream %.32q", ErrDamagedRange, r.Table, r.Stream)
	case r.First < 1 || r.Last < r.First:
		return fmt.Errorf("%w: %s from %d to %d", ErrDamagedRange, r.Table, r.First, r.Last)
	case r.To.Before(r.From):
		return fmt.Errorf("%w: %s from %d to %d ends before it begins", ErrDamagedRange, r.Table, r.First, r.Last)
	}
	_, err := SumQuery{Table: r.Table, Columns: r.Columns}.columns()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamagedRange, err)
	}
	return nil
}

// AddAudit writes the row of one stream of an audit once: the same audit and stream again add nothing.
func (s *Store) AddAudit(ctx context.Context, r AuditRow) error {
	err := s.addRows(ctx, "audit:"+r.ID+":"+string(r.Stream),
		"INSERT INTO audits (audit_id, stream, life, kind, by, started, ended, first_seq, last_seq, settled_seq, published, landed, dead, pending, lost, doubled, altered, aged, "+
			"unverified, exact, clean, detail, error, code_version)", [][]any{{
			r.ID, string(r.Stream), r.Life, r.Kind, r.By, r.Started, r.Ended, r.First, r.Last, r.Settled, r.Published, r.Landed, r.Dead, r.Pending, r.Lost, r.Doubled, r.Altered, r.Aged,
			r.Unverified, r.Exact, r.Clean, r.Detail, r.Error, r.CodeVersion,
		}})
	if err != nil {
		return fmt.Errorf("record audit %s of %s: %w", r.ID, r.Stream, err)
	}
	return nil
}

// AddAuditRanges writes ranges of one stream once: the same audit, stream and first range again add nothing.
func (s *Store) AddAuditRanges(ctx context.Context, audit string, at time.Time, ranges []AuditRange) error {
	if len(ranges) == 0 {
		return nil
	}
	rows := make([][]any, len(ranges))
	for i, r := range ranges {
		rows[i] = []any{string(r.Stream), r.Table, r.Life, r.First, r.Last, r.From, r.To, r.Rows, r.Sum, strings.Join(r.Columns, ","), audit, at}
	}
	first := ranges[0]
	err := s.addRows(ctx, fmt.Sprintf("audit-ranges:%s:%s:%s:%d-%d", audit, first.Stream, first.Table, first.First, ranges[len(ranges)-1].Last),
		"INSERT INTO audit_ranges (stream, table_name, life, first_seq, last_seq, first_time, last_time, row_count, checksum, columns, audit_id, audited_at)", rows)
	if err != nil {
		return fmt.Errorf("record %d ranges of %s: %w", len(ranges), first.Stream, err)
	}
	return nil
}

// AuditRanges hands over what is known of a stream's ranges, of those with the same beginning the longest, ascending by life, table and sequence. bad, which
// may be called in between, is told of rows that say what cannot be; they are left out.
func (s *Store) AuditRanges(ctx context.Context, stream market.Stream, fn func(AuditRange) error, bad func(error)) error {
	sql := "SELECT table_name, life, first_seq, last_seq, first_time, last_time, row_count, checksum, columns FROM audit_ranges WHERE stream = " + quote(string(stream)) +
		" ORDER BY life, table_name, first_seq, last_seq DESC, audited_at DESC LIMIT 1 BY life, table_name, first_seq"
	conn, err := s.upToDate(ctx, "audit_ranges")
	if err != nil {
		return fmt.Errorf("read earlier checksums of %s: %w", stream, err)
	}
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return fmt.Errorf("read earlier checksums of %s: %w", stream, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r := AuditRange{Stream: stream}
		var columns string
		if err := rows.Scan(&r.Table, &r.Life, &r.First, &r.Last, &r.From, &r.To, &r.Rows, &r.Sum, &columns); err != nil {
			return fmt.Errorf("read earlier checksums of %s: %w", stream, err)
		}
		r.Columns = strings.Split(columns, ",")
		if err := r.check(); err != nil {
			bad(err)
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read earlier checksums of %s: %w", stream, err)
	}
	return nil
}

// LastAudit is the last audit of a stream and kind that was made, as far as the next one needs it; ok is false where there is none.
func (s *Store) LastAudit(ctx context.Context, stream market.Stream, kinds ...string) (r AuditRow, ok bool, _ error) {
	in := make([]string, len(kinds))
	for i, k := range kinds {
		in[i] = quote(k)
	}
	conn, err := s.upToDate(ctx, "audits")
	if err != nil {
		return r, false, fmt.Errorf("read the last audit of %s: %w", stream, err)
	}
	rows, err := conn.Query(ctx, "SELECT audit_id, life, kind, ended, settled_seq, clean, lost, doubled, altered, unverified FROM audits WHERE stream = "+quote(string(stream))+
		" AND kind IN ("+strings.Join(in, ", ")+") AND error = '' ORDER BY ended DESC LIMIT 1")
	if err != nil {
		return r, false, fmt.Errorf("read the last audit of %s: %w", stream, err)
	}
	defer func() { _ = rows.Close() }()
	r.Stream = stream
	if rows.Next() {
		if err := rows.Scan(&r.ID, &r.Life, &r.Kind, &r.Ended, &r.Settled, &r.Clean, &r.Lost, &r.Doubled, &r.Altered, &r.Unverified); err != nil {
			return r, false, fmt.Errorf("read the last audit of %s: %w", stream, err)
		}
		ok = true
	}
	if err := rows.Err(); err != nil {
		return r, false, fmt.Errorf("read the last audit of %s: %w", stream, err)
	}
	return r, ok, nil
}

// DeadMark is a row of dead_marks: what became of a dead letter.
type DeadMark struct {
	Seq          uint64
	Idx          uint32
	Time         time.Time
	Fate         string // replayed or discarded
	By, Why      string
	At           time.Time
	ReplayStream market.Stream
	ReplaySeq    uint64
	ReplayEvents uint32
}

// The fates of a dead letter that somebody took in hand.
const (
	FateReplayed  = "replayed"
	FateDiscarded = "discarded"
)

// AddDeadMark writes the mark once: the same letter and fate again add nothing.
func (s *Store) AddDeadMark(ctx context.Context, m DeadMark) error {
	token := fmt.Sprintf("dead-mark:%d:%d:%d:%s", m.Time.UnixNano(), m.Seq, m.Idx, m.Fate)
	err := s.addRows(ctx, token,
		"INSERT INTO dead_marks (letter_seq, letter_idx, letter_time, fate, by, why, marked_at, replay_stream, replay_seq, replay_events)", [][]any{{
			m.Seq, m.Idx, m.Time, m.Fate, m.By, m.Why, m.At, string(m.ReplayStream), m.ReplaySeq, m.ReplayEvents,
		}})
	if err != nil {
		return fmt.Errorf("mark dead letter %d:%d: %w", m.Seq, m.Idx, err)
	}
	return nil
}

// Letter is a dead letter that has landed, with what became of it.
type Letter struct {
	market.DeadLetter
	At   market.Place // in the stream DEAD
	Fate string       // empty: nobody took it in hand
	Mark DeadMark
}

// LetterQuery selects dead letters.
type LetterQuery struct {
	Of, Source, Reason string // empty: all; Source and Reason are patterns with stars
	// First and Last bound the sequence in the stream Of; 0: no bound.
	First, Last uint64
	Since       time.Time
	// Seqs are places in the stream DEAD; empty: all.
	Seqs []uint64
	// Fates that are wanted, "dead" for none; empty: all.
	Fates    []string
	Payloads bool // with their bytes
	// Limit takes the first so many, or the last where Newest is set; 0: all.
	Limit  int
	Newest bool
}

// Letters hands over the selected dead letters in the order in which they were stored. fn holds a connection: it must not wait for slow readers.
func (s *Store) Letters(ctx context.Context, q LetterQuery, fn func(Letter) error) error {
	where := []string{"1"}
	add := func(format string, args ...any) { where = append(where, fmt.Sprintf(format, args...)) }
	if q.Of != "" {
		add("dead_stream = %s", quote(q.Of))
	}
	if q.Source != "" {
		add("%s", matchSQL("source", q.Source))
	}
	if q.Reason != "" {
		add("%s", matchSQL("reason", q.Reason))
	}
	if q.First > 0 {
		add("dead_seq >= %d", q.First)
	}
	if q.Last > 0 {
		add("dead_seq <= %d", q.Last)
	}
	if !q.Since.IsZero() {
		add("stream_time >= %s", timeLiteral(q.Since))
	}
	if len(q.Seqs) > 0 {
		list := make([]string, len(q.Seqs))
		for i, n := range q.Seqs {
			list[i] = fmt.Sprint(n)
		}
		add("stream_seq IN (%s)", strings.Join(list, ", "))
	}
	if len(q.Fates) > 0 {
		list := make([]string, len(q.Fates))
		for i, f := range q.Fates {
			list[i] = quote(f)
		}
		add("fate IN (%s)", strings.Join(list, ", "))
	}
	payload := "'' AS payload"
	if q.Payloads {
		payload = "payload"
	}
	sql := "SELECT event_time, recv_time, stream_time, stream_seq, idx, source, dead_stream, dead_created_s, dead_seq, dead_idx, subject, reason, detail, " + payload +
		", payload_bytes, fate, marked_by, why, marked_at, replay_stream, replay_seq FROM dead_letters_now WHERE " + strings.Join(where, " AND ")
	const inOrder = " ORDER BY stream_time, stream_seq, idx"
	switch {
	case q.Limit > 0 && q.Newest:
		sql = "SELECT * FROM (" + sql + fmt.Sprintf(" ORDER BY stream_time DESC, stream_seq DESC, idx DESC LIMIT %d)", q.Limit) + inOrder
	case q.Limit > 0:
		sql += inOrder + fmt.Sprintf(" LIMIT %d", q.Limit)
	default:
		sql += inOrder
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := s.upToDate(ctx, tableDeadLetters, "dead_marks")
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_query_size": maxEventSQL})), sql)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			l           Letter
			reason, bts string
			stream      string
			marked      *time.Time
		)
		if err := rows.Scan(&l.EventTime, &l.RecvTime, &l.At.StreamTime, &l.At.Seq, &l.At.Idx, &l.Source, &l.Of, &l.Created, &l.Seq, &l.Idx, &l.Subject, &reason, &l.Detail, &bts,
			&l.PayloadBytes, &l.Fate, &l.Mark.By, &l.Mark.Why, &marked, &stream, &l.Mark.ReplaySeq); err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		l.Reason, l.Payload, l.At.Stream = market.Reason(reason), []byte(bts), market.Dead
		l.Mark.Seq, l.Mark.Idx, l.Mark.Time, l.Mark.Fate, l.Mark.At, l.Mark.ReplayStream = l.At.Seq, l.At.Idx, l.At.StreamTime, l.Fate, orZero(marked), market.Stream(stream)
		if l.Fate == "dead" {
			l.Fate, l.Mark = "", DeadMark{}
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	return nil
}
