package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// A stream that is deleted and made again begins another life: its sequences start anew. Rows of a life were stored by JetStream when the stream had been
// made (stream_time), those of an older one before. Everything here that takes since speaks of the life that began then; zero: of all.

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " AND stream_time >= " + lifeLiteral(t)
}

// lifeLiteral is the first stream time that a life which began at t can have: JetStream tells when a stream was made to the nanosecond, and a message's stream time may be
// in whole microseconds.
func lifeLiteral(t time.Time) string { return timeLiteral(t.Truncate(time.Microsecond)) }

// Top is what is stored of a stream's life: the greatest sequence, 0 if there is nothing, and the stream time of the newest row.
type Top struct {
	Seq  uint64
	Time time.Time
}

// Top reads the greatest sequence of a stream's life. It reads the stream times of the whole table.
func (s *Store) Top(ctx context.Context, stream market.Stream, life time.Time) (Top, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return Top{}, err
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return Top{}, fmt.Errorf("read greatest sequence of %s: %w", stream, err)
	}
	var t Top
	var n uint64
	sql := "SELECT max(seq), max(at), sum(n) FROM (" + union("max(stream_seq) AS seq, max(stream_time) AS at, count() AS n", " WHERE 1"+since(life), tables) + ")"
	if err := conn.QueryRow(ctx, sql).Scan(&t.Seq, &t.Time, &n); err != nil {
		return Top{}, fmt.Errorf("read greatest sequence of %s: %w", stream, err)
	}
	if n == 0 {
		return Top{}, nil
	}
	t.Time = t.Time.UTC()
	return t, nil
}

// Place is an event's place in its stream.
type Place struct {
	Seq uint64
	Idx uint32
}

// Places are the places of a range that have rows, each with the table and partition ("trades:202611") that it stands in.
type Places map[Place]string

// Blocks are the tables and partitions that have rows of the range.
func (p Places) Blocks() map[string]bool {
	out := map[string]bool{}
	for _, b := range p {
		out[b] = true
	}
	return out
}

// Standing is how many rows a block has, and how many of them stand.
type Standing struct{ Rows, Stand int }

// Standing tells of each block, named as Places names them, how many of its rows stand.
func (b *Batch) Standing(p Places) map[string]Standing {
	out := map[string]Standing{}
	_ = b.each(func(blk block) error {
		st := Standing{Rows: blk.cols[0].rows()}
		blk.places(func(at Place) {
			if _, ok := p[at]; ok {
				st.Stand++
			}
		})
		out[blk.table+":"+blk.partition] = st
		return nil
	})
	return out
}

// Places reads which places of a range have rows. It holds all of them in memory: it is for one range of the lander. On replicas, a quorum of them has every row that
// it tells of.
func (s *Store) Places(ctx context.Context, stream market.Stream, life time.Time, first, last uint64) (Places, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return nil, err
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return nil, fmt.Errorf("read places of %s from %d to %d: %w", stream, first, last, err)
	}
	out := Places{}
	for _, t := range tables {
		cut, err := cutOf(t)
		if err != nil {
			return nil, err
		}
		sql := fmt.Sprintf("SELECT stream_seq, idx, %s FROM %s WHERE stream_seq BETWEEN %d AND %d%s", cut.expr(), t, first, last, since(life))
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return nil, fmt.Errorf("read places of %s from %d to %d: %w", stream, first, last, err)
		}
		labels := map[uint32]string{}
		for rows.Next() {
			var p Place
			var key uint32
			if err := rows.Scan(&p.Seq, &p.Idx, &key); err != nil {
				_ = rows.Close()
				return nil, fmt.Errorf("read places of %s: %w", stream, err)
			}
			label, ok := labels[key]
			if !ok {
				label = t + ":" + cut.label(int(key))
				labels[key] = label
			}
			out[p] = label
		}
		err = rows.Err()
		_ = rows.Close()
		if err != nil {
			return nil, fmt.Errorf("read places of %s: %w", stream, err)
		}
	}
	if len(out) > 0 {
		if err := s.secure(ctx, tables); err != nil {
			return nil, fmt.Errorf("read places of %s from %d to %d: %w", stream, first, last, err)
		}
	}
	return out, nil
}

// expr is the partition's number as ClickHouse computes it.
func (p partitioning) expr() string {
	switch p {
	case byYear:
		return "toUInt32(toYear(event_time))"
	case byMonth:
		return "toUInt32(toYYYYMM(event_time))"
	default:
		return "toUInt32(0)"
	}
}

// cutOf tells how a table is cut into partitions.
func cutOf(name string) (partitioning, error) {
	for _, t := range NewBatch().tables {
		if n, _ := t.schema(); n == name {
			return t.partitioning(), nil
		}
	}
	return whole, fmt.Errorf("find table %q: there is no such table", name)
}

// Layout describes all tables and columns that a Batch fills, and how they are cut. Two versions with the same layout send an event to the same place.
func Layout() string {
	out := ""
	for _, t := range NewBatch().tables {
		name, cols := t.schema()
		out += fmt.Sprintf("%s %s\n", name, t.partitioning().expr())
		for _, c := range cols {
			out += "  " + c.name() + " " + c.typ() + "\n"
		}
	}
	return out
}

// Deployment is the identity of the database, made once with it: whoever lands into it writes it down beside the range, and can tell another database from it.
func (s *Store) Deployment(ctx context.Context) (string, error) {
	conn, err := s.upToDate(ctx, "deployment")
	if err != nil {
		return "", fmt.Errorf("read the identity of database %s: %w", s.cfg.Database, err)
	}
	var id uuid.UUID
	if err := conn.QueryRow(ctx, "SELECT argMin(id, made_at) FROM deployment").Scan(&id); err != nil {
		return "", fmt.Errorf("read the identity of database %s: %w", s.cfg.Database, err)
	}
	if id == uuid.Nil {
		return "", fmt.Errorf("read the identity of database %s: %w: table deployment is empty", s.cfg.Database, ErrSchema)
	}
	return id.String(), nil
}
