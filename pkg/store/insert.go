package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// Insert writes the batch, block by block in the order of tables and partitions, and returns when the server has stored every
// block. The batch is unchanged. The token must name exactly these events: the same batch under the same token adds nothing, and
// completes what an earlier, failed Insert left undone; other events under a used token would be dropped in silence.
//
// A server without replicas writes a block's token down before the block's part has its name, and does not take it back when it dies, or fails, in between:
// then it takes a second Insert for a repetition and stores nothing. Whoever inserts again after an error must look whether the rows stand (Places,
// Batch.Standing) and, where they do not, insert with Again raised.
//
// After an error some of the blocks may be stored and the outcome of one may be unknown. IsTransient says to call Insert again with the same
// batch and token; IsRefused that a block can never be stored.
func (s *Store) Insert(ctx context.Context, b *Batch, token string) error {
	return s.InsertAs(ctx, b, Insertion{Token: token})
}

// Insertion says how a batch is inserted.
type Insertion struct {
	// Token names exactly the events of the batch, see Insert.
	Token string
	// Rest are the blocks, as Places names them, of which rows of the same range were stored already: what the batch still holds of them goes under a token
	// of its own, because the range's is used up.
	Rest map[string]bool
	// Skip are blocks, named so too, that are stored already.
	Skip map[string]bool
	// Again counts the tokens that are used up without rows, as Insert tells: the next is tried. Never raise it for a block of which a row stands.
	Again int
	// Guard, if any, is asked for each block when everything but the sending is done; its error ends the insertion. The server waits for the rows for
	// receiveTimeout only, so that a process which was frozen behind its guard can send them no later than that.
	Guard func() error
}

// InsertAs is Insert with more to say.
func (s *Store) InsertAs(ctx context.Context, b *Batch, how Insertion) error {
	if how.Token == "" {
		return fmt.Errorf("insert batch of %d rows: token is empty", b.Rows())
	}
	return b.each(func(blk block) error {
		if how.Skip[blk.table+":"+blk.partition] {
			return nil
		}
		token := how.Token
		if how.Rest[blk.table+":"+blk.partition] {
			token += "+rest"
		}
		if how.Again > 0 {
			token += "+again" + strconv.Itoa(how.Again)
		}
		if err := s.insert(ctx, blk, token+":"+blk.partition, how.Guard); err != nil {
			return fmt.Errorf("insert %d rows into %s, partition %s: %w", blk.cols[0].rows(), blk.table, blk.partition, err)
		}
		return nil
	})
}

// insertSettings pins everything that could cut a block in two or make the server forget what it has seen.
func insertSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplication_token":                         token,
		"insert_deduplicate":                                 1,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
		"max_insert_threads":                                 1,
		"max_insert_block_size":                              maxBlockRows,
		"min_insert_block_size_rows":                         maxBlockRows,
		"min_insert_block_size_bytes":                        maxBlockBytes,
		"max_partitions_per_insert_block":                    0,
		"throw_on_max_partitions_per_insert_block":           0,
		"optimize_on_insert":                                 0,
		"materialize_skip_indexes_on_insert":                 1,
		"receive_timeout":                                    receiveTimeout,
	}
}

// settingsOf are settings as ch-go takes them.
func settingsOf(set clickhouse.Settings) []ch.Setting {
	out := make([]ch.Setting, 0, len(set))
	for k, v := range set {
		out = append(out, ch.Setting{Key: k, Value: fmt.Sprint(v), Important: true})
	}
	return out
}

// receiveTimeout, in seconds, is for how long the server waits for the next piece of a block that is being sent.
const receiveTimeout = 30

// A token covers a block, so a block must never be split. These are beyond what any batch holds.
const (
	maxBlockRows  = 1 << 30
	maxBlockBytes = 16 << 30
)

// insert sends one block. ready, if any, is called when everything but the sending is done, and can call it off.
func (s *Store) insert(ctx context.Context, blk block, token string, ready func() error) error {
	size := 0
	for _, c := range blk.cols {
		size += c.size()
	}
	// The client itself would wait for an answer without end. A large block over a slow network takes its time, hence a second for each MiB.
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout+time.Duration(size>>20)*time.Second)
	defer cancel()
	conn, err := s.inserts.take(ctx, s.dial)
	if err != nil {
		return fmt.Errorf("begin insert: connect to ClickHouse at %v: %w", s.cfg.Addr, err)
	}
	// Nor does it let go of a read or a write when ctx ends or we call it off: that takes the socket away.
	awake := context.AfterFunc(ctx, func() { _ = conn.socket.Close() })
	out := &sending{cols: blk.cols, ready: ready, cancel: cancel, told: make(chan struct{})}
	err = conn.Do(ctx, out.query("INSERT INTO "+blk.table, settingsOf(insertSettings(token))))
	if awake() && err == nil {
		s.inserts.put(conn, size)
		return nil
	}
	_ = conn.Close() // half of a block may be in it
	s.leave(conn.at, err)
	switch {
	case err == nil: // the answer came, and ctx ended just then
		return nil
	case out.refused != nil:
		return out.refused
	}
	return fmt.Errorf("send block: %w", err)
}

// sending is a block on its way.
type sending struct {
	cols    []col
	ready   func() error
	cancel  func()
	header  chproto.ColInfoInput
	told    chan struct{} // closed when the server has told its columns, which header holds
	state   sendState
	refused error
}

type sendState int

const (
	waiting sendState = iota // for the server's columns
	going
	gone
)

func (s *sending) query(into string, settings []ch.Setting) ch.Query {
	names := make([]string, len(s.cols))
	input := make(chproto.Input, len(s.cols))
	for i, c := range s.cols {
		names[i], input[i] = c.name(), chproto.InputColumn{Name: c.name(), Data: &inputColumn{c, &s.state}}
	}
	return ch.Query{
		Body: into + " (" + strings.Join(names, ", ") + ") VALUES", Settings: settings, Input: input, OnInput: s.next,
		Result: &s.header, OnResult: func(context.Context, chproto.Block) error {
			select {
			case <-s.told:
				return errors.New("the server tells its columns twice")
			default:
				close(s.told)
				return nil
			}
		},
	}
}

// next is called before the block, of which there are no rows until the server's columns have been looked at, and behind it.
func (s *sending) next(ctx context.Context) error {
	if s.state == going {
		s.state = gone
		return io.EOF
	}
	select {
	case <-s.told:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := s.check()
	if err == nil && s.ready != nil {
		err = s.ready()
	}
	if err != nil {
		s.refused = err
		s.cancel()
		return err
	}
	s.state = going
	return nil
}

// check compares the server's columns with ours.
func (s *sending) check() error {
	if len(s.header) != len(s.cols) {
		return fmt.Errorf("%w: the server wants %d columns, not %d", ErrSchema, len(s.header), len(s.cols))
	}
	for i, c := range s.cols {
		if h := s.header[i]; h.Name != c.name() || string(h.Type) != c.typ() {
			return fmt.Errorf("%w: column %s is %s there, %s %s here", ErrSchema, h.Name, h.Type, c.name(), c.typ())
		}
	}
	return nil
}

// inputColumn is a column as the client sends it.
type inputColumn struct {
	col
	state *sendState
}

// Type implements chproto.ColInput.
func (c *inputColumn) Type() chproto.ColumnType { return chproto.ColumnType(c.typ()) }

// Rows implements chproto.ColInput.
func (c *inputColumn) Rows() int {
	if *c.state != going {
		return 0
	}
	return c.rows()
}

// EncodeState implements chproto.StateEncoder.
func (c *inputColumn) EncodeState(b *chproto.Buffer) { c.prefix(b) }

// EncodeColumn implements chproto.ColInput, for a connection that compresses.
func (c *inputColumn) EncodeColumn(b *chproto.Buffer) {
	for _, p := range c.pieces(nil) {
		b.PutRaw(p)
	}
}

// WriteColumn implements chproto.ColInput: the bytes go to the socket from where they are.
func (c *inputColumn) WriteColumn(w *chproto.Writer) {
	for _, p := range c.pieces(nil) {
		w.ChainWrite(p)
	}
}
