package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// chunkSeqs is how many sequences are compared by two numbers: it bounds the memory, and what must be looked into when the numbers differ. Ranges in
// audit_ranges are aligned to it, so it cannot be changed without losing them.
const chunkSeqs = 8192

// chunkOf is the first sequence of the chunk that a sequence belongs to.
func chunkOf(seq uint64) uint64 { return (seq-1)/chunkSeqs*chunkSeqs + 1 }

// maxTables bounds the tables of a stream.
const maxTables = 4

// streamAudit audits one stream.
type streamAudit struct {
	deps   Deps
	order  Order
	res    *Result
	stream market.Stream

	tables  []string
	columns [][]string // by table
	info    bus.Info
	settled uint64
	from    uint64
	through uint64
	dead    graves
	known   knownRanges
	coarse  []map[uint64]store.GroupSum // by table, by the chunk's first sequence
	groups  []uint64                    // first sequences of the chunks that the tables have rows of and that have not been compared
	before  uint64                      // up to it an earlier audit wrote the checksums down
	sum     StreamResult

	batch   *store.Batch
	cur     *chunk
	ranges  []store.AuditRange
	looked  int // chunks that were looked into and differed
	rows    int // messages that were compared row by row
	added   int // messages that were decoded
	exact   int // ranges of gone messages that were asked for singly
	atLeast bool
	worked  time.Duration // at decoding, since the last pause
}

// message is what the stream says of one message.
type message struct {
	held      bool
	published uint64
	dead      uint64
	unknown   uint64 // events without a checksum: this version does not read them, and no letter says that they are dead
	stored    int64  // ns
	rows      [maxTables]uint64
	sums      [maxTables]uint64
}

func (m *message) total() (rows, sum uint64) {
	for t := range m.rows {
		rows += m.rows[t]
		sum += m.sums[t]
	}
	return rows, sum
}

// chunk is what the stream says of chunkSeqs sequences.
type chunk struct {
	first uint64
	used  bool
	msgs  [chunkSeqs]message
}

func (c *chunk) at(seq uint64) *message { return &c.msgs[seq-c.first] }

func (c *chunk) begin(first uint64) {
	c.first = first
	clear(c.msgs[:])
}

// of sums up a table's rows of the messages from first to last.
func (c *chunk) of(table int, first, last uint64) (rows, sum uint64) {
	for seq := max(first, c.first); seq <= min(last, c.first+chunkSeqs-1); seq++ {
		m := c.at(seq)
		rows += m.rows[table]
		sum += m.sums[table]
	}
	return rows, sum
}

func (a *streamAudit) run(ctx context.Context) (err error) {
	a.sum.started = time.Now().UTC()
	a.tables = store.Tables(a.stream)
	if a.tables == nil {
		return fmt.Errorf("there is no such stream; the streams are %v", market.Streams())
	}
	for _, t := range a.tables {
		a.columns = append(a.columns, store.ChecksumColumns(t))
	}
	a.batch, a.cur = store.NewBatch(), &chunk{}
	if err := a.bounds(ctx); err != nil {
		return err
	}
	var since time.Time // of the oldest message that is compared, where it is not the first
	switch a.order.Kind {
	case KindSince:
		since = a.order.Since
	case KindNew:
		if m, err := a.deps.Bus.Get(ctx, a.stream, a.from); err == nil && a.from > a.info.FirstSeq {
			since = m.StreamTime()
		}
	}
	if err := a.readGraves(ctx, since); err != nil {
		return err
	}
	if a.order.Kind == KindFull {
		if err := a.loadKnown(ctx); err != nil {
			return err
		}
		if err := a.past(ctx); err != nil {
			return err
		}
	}
	if err := a.sumUp(ctx); err != nil {
		return err
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	if err := a.beyond(ctx); err != nil {
		return err
	}
	a.res.Lost += a.sum.Lost
	a.res.Duplicates += a.sum.Doubled
	a.res.Altered += a.sum.Altered
	a.res.Unverified += a.sum.Unverified
	a.res.AtLeast = a.res.AtLeast || a.atLeast
	return nil
}

// bounds asks what the stream holds and how far it has landed, and decides what is compared.
func (a *streamAudit) bounds(ctx context.Context) (err error) {
	a.info, err = a.deps.Bus.Info(ctx, a.stream)
	if errors.Is(err, bus.ErrNoStream) {
		return fmt.Errorf("%w in this NATS; hashpivot up or a lander declares the streams: is nats.url the one that they use?", err)
	}
	if err != nil {
		return err
	}
	// Behind the record's range nothing is in the tables yet; the range itself may be on its way, and is settled once the record has moved on.
	l, ok, err := a.deps.Bus.Landing(ctx, a.stream)
	if err != nil {
		return err
	}
	if ok && l.Created == a.info.Created.UnixNano() && l.First > 0 {
		a.settled = min(l.First-1, a.info.LastSeq)
	}
	a.from, a.through = max(a.info.FirstSeq, 1), a.info.LastSeq
	switch a.order.Kind {
	case KindSince:
		before, _, err := a.deps.Bus.SeqBefore(ctx, a.stream, a.order.Since)
		if err != nil {
			return err
		}
		a.from = max(a.from, before+1)
	case KindNew:
		last, ok, err := a.deps.Store.LastAudit(ctx, a.stream, KindNew, KindFull)
		if err != nil {
			return err
		}
		if ok && last.Life.Equal(a.info.Created) && last.Settled > 0 && last.Settled <= a.settled {
			a.from, a.before = max(a.from, chunkOf(last.Settled+1)), last.Settled
		}
	}
	a.sum.First, a.sum.Last, a.sum.Settled, a.sum.life = a.from, a.through, a.settled, a.info.Created.UTC()
	if a.from > a.through {
		a.sum.First = 0
	}
	return nil
}

func (a *streamAudit) query(table int, first, last, step uint64) store.SumQuery {
	return store.SumQuery{
		Table: a.tables[table], Columns: a.columns[table], First: first, Last: last, Since: a.info.Created, Step: step, Threads: a.order.Threads,
	}
}

// sumUp asks ClickHouse for the sums of all chunks: one pass over each table, whatever its order.
func (a *streamAudit) sumUp(ctx context.Context) error {
	a.coarse = make([]map[uint64]store.GroupSum, len(a.tables))
	for t := range a.tables {
		a.coarse[t] = map[uint64]store.GroupSum{}
		if a.from > a.through {
			continue
		}
		if err := a.deps.Store.GroupSums(ctx, a.query(t, a.from, a.through, chunkSeqs), func(g store.GroupSum) error {
			a.coarse[t][g.First] = g
			return nil
		}); err != nil {
			return err
		}
		a.groups = slices.AppendSeq(a.groups, maps.Keys(a.coarse[t]))
	}
	if first := chunkOf(a.from); first < a.from {
		a.groups = append(a.groups, first) // the stream may hold nothing of it any more
	}
	slices.Sort(a.groups)
	a.groups = slices.Compact(a.groups)
	return nil
}

// errSilent says that the stream gave nothing although it said that more is there.
var errSilent = errors.New("JetStream gave no message for a minute although it said that more are there; is it healthy? run the audit again")

// read decodes the messages and compares chunk by chunk.
func (a *streamAudit) read(ctx context.Context) error {
	if a.from > a.through {
		return a.next(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	const patience = time.Minute
	silence := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer silence.Stop()
	r, err := a.deps.Bus.Read(ctx, a.stream, a.from)
	if err != nil {
		return err
	}
	defer r.Close()
	for left := r.Pending(); left > 0; left-- {
		silence.Reset(patience)
		m, err := r.Next(ctx)
		if err != nil {
			if errors.Is(context.Cause(ctx), errSilent) {
				return errSilent
			}
			return err
		}
		silence.Stop() // comparing may take its time
		if m.Seq > a.through {
			break // stored since; the audit speaks of one moment
		}
		if first := chunkOf(m.Seq); !a.cur.used || first != a.cur.first {
			if err := a.next(ctx, first); err != nil {
				return err
			}
		}
		began := time.Now()
		a.add(m)
		a.worked += time.Since(began)
		if m.Pending == 0 {
			break
		}
	}
	return a.next(ctx, 0)
}

// next compares the chunk that was read, and those before the next one of which the stream holds nothing; first 0: there is no next one.
func (a *streamAudit) next(ctx context.Context, first uint64) error {
	if a.cur.used {
		began := time.Now()
		a.flush()
		a.worked += time.Since(began)
		if err := a.compare(ctx, a.cur); err != nil {
			return err
		}
	}
	if err := a.orphans(ctx, first); err != nil {
		return err
	}
	a.cur.begin(first)
	a.cur.used = first > 0
	return a.breathe(ctx)
}

// orphans compares chunks of which the tables have rows and the stream has no message, before the one that begins at first.
func (a *streamAudit) orphans(ctx context.Context, first uint64) error {
	for len(a.groups) > 0 && (first == 0 || a.groups[0] < first) {
		f := a.groups[0]
		a.groups = a.groups[1:]
		if a.cur.used && f == a.cur.first {
			continue
		}
		c := &chunk{first: f}
		if err := a.compare(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// breathe pauses so that decoding takes no more than its share of a core.
func (a *streamAudit) breathe(ctx context.Context) error {
	share := a.order.Share
	if share <= 0 || share >= 1 {
		return nil
	}
	worked := a.worked
	if worked < 20*time.Millisecond {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(time.Duration(float64(worked)*(1-share)/share), 5*time.Second)):
	}
	a.worked = 0
	return nil
}

// add decodes a message as the lander does.
func (a *streamAudit) add(m bus.Msg) {
	s := a.cur.at(m.Seq)
	dead := a.dead.of(m.Seq)
	events, err := wire.Decode(a.stream, m.Data)
	s.held, s.stored, s.published = true, m.StreamTime().UnixNano(), uint64(m.Events)
	if m.Events == 0 { // foreign: it does not say how many events it holds
		s.published = max(uint64(len(events)), 1)
	}
	switch {
	case dead.whole():
		s.dead = s.published
		return
	case err != nil:
		s.dead = uint64(len(dead))
		s.unknown = s.published - min(s.dead, s.published)
		return
	}
	s.dead = uint64(len(dead))
	for i, ev := range events {
		if dead.has(i) {
			continue
		}
		err := ev.Validate()
		if err == nil {
			err = a.batch.Add(ev, market.Place{Stream: a.stream, Seq: m.Seq, Idx: uint32(i), StreamTime: m.StreamTime()})
		}
		if err != nil {
			s.unknown++
		}
	}
	if a.added++; a.batch.Rows() >= batchRows || a.added%64 == 0 && a.batch.Bytes() >= batchBytes {
		a.flush()
	}
}

// A batch is hashed when it is so large; the memory that its rows take is bounded by that and one message.
const (
	batchRows  = 16384
	batchBytes = 8 << 20
)

// flush makes the checksums of the rows that were decoded.
func (a *streamAudit) flush() {
	table, t := "", 0
	a.batch.Checksums(func(name string, seq uint64, _ uint32, sum uint64) {
		if name != table {
			table, t = name, slices.Index(a.tables, name)
		}
		s := a.cur.at(seq)
		s.rows[t]++
		s.sums[t] += sum
	})
	a.batch.Reset()
}

// beyond looks for rows behind the end of the stream, which no message explains. The tables are asked first: a stream only grows.
func (a *streamAudit) beyond(ctx context.Context) error {
	_, top, err := a.deps.Store.Beyond(ctx, a.stream, a.info.Created, a.through)
	if err != nil || top == 0 {
		return err
	}
	info, err := a.deps.Bus.Info(ctx, a.stream)
	if err != nil || top <= info.LastSeq || !info.Created.Equal(a.info.Created) {
		return err
	}
	rows, top, err := a.deps.Store.Beyond(ctx, a.stream, a.info.Created, info.LastSeq)
	if err != nil || rows == 0 {
		return err
	}
	if info, err = a.deps.Bus.Info(ctx, a.stream); err != nil || top <= info.LastSeq {
		return err
	}
	a.sum.Doubled += rows
	a.res.differ(Difference{Stream: a.stream, First: info.LastSeq + 1, Last: top, Landed: rows, Doubled: rows})
	return nil
}
