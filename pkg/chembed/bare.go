package chembed

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// BareInsert measures the engine without any protocol in front of it: the limit
// that inserts through one are compared with.
type BareInsert struct {
	Setup  []string // statements before the clock starts, such as CREATE TABLE
	Insert string   // such as "INSERT INTO trades (a, b)"
	// Blocks are Native blocks as HTTP gives them (FORMAT Native without
	// client_protocol_version; NativeBlocks takes a body apart). Each is inserted
	// by a statement of its own.
	Blocks [][]byte `json:"-"`
	// Token, if set, makes the deduplication token Token+index of each insert.
	Token string
	// Sessions insert at once; 0 means one.
	Sessions int
}

// BareQuery measures a SELECT on the engine without any protocol in front of it: its blocks are taken from the engine and dropped.
type BareQuery struct {
	Setup []string // statements before the clock starts
	Query string
	Runs  int
}

// BareResult is what a BareInsert or a BareQuery took.
type BareResult struct {
	Rows, Bytes uint64
	Elapsed     time.Duration   // from the first start to the last end
	Each        []time.Duration // of a BareQuery: its runs
}

// RunBareInsert does a BareInsert in an engine process of its own, on cfg's data
// directory, which no server may have open. Nothing listens.
func RunBareInsert(ctx context.Context, cfg Config, b BareInsert) (BareResult, error) {
	if sqltext.Parse(b.Insert).Kind != sqltext.KindInsert {
		return BareResult{}, fmt.Errorf("%q is no INSERT", b.Insert)
	}
	f, err := os.CreateTemp("", "chembed-bare-*")
	if err != nil {
		return BareResult{}, fmt.Errorf("make a file for the blocks: %w", err)
	}
	defer os.Remove(f.Name())
	err = writeBlocks(f, b.Blocks)
	if err = errors.Join(err, f.Close()); err != nil {
		return BareResult{}, fmt.Errorf("write blocks to %s: %w", f.Name(), err)
	}
	return runBare(ctx, cfg, bareRequest{BareInsert: b, File: f.Name()})
}

// RunBareQuery does a BareQuery as RunBareInsert does a BareInsert.
func RunBareQuery(ctx context.Context, cfg Config, q BareQuery) (BareResult, error) {
	return runBare(ctx, cfg, bareRequest{Query: &q})
}

func runBare(ctx context.Context, cfg Config, req bareRequest) (BareResult, error) {
	s, err := newServer(cfg)
	if err != nil {
		return BareResult{}, err
	}
	s.child.Bare = &req
	p, err := s.launch(ctx)
	if err != nil {
		return BareResult{}, err
	}
	defer func() { p.closeControl(); p.kill(); <-p.exited }()
	select {
	case st, ok := <-p.status:
		if !ok || st.Bare == nil {
			return BareResult{}, fmt.Errorf("measure the bare engine: %s. Last output: %s", st.Message, p.output.String())
		}
		return *st.Bare, nil
	case <-ctx.Done():
		return BareResult{}, fmt.Errorf("measure the bare engine: %w", ctx.Err())
	}
}

// bareRequest is what the child is told.
type bareRequest struct {
	BareInsert
	File  string
	Query *BareQuery `json:",omitempty"` // this instead
}

func writeBlocks(f *os.File, blocks [][]byte) error {
	w := bufio.NewWriterSize(f, 1<<20)
	var n [8]byte
	for _, b := range blocks {
		binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
		if _, err := w.Write(n[:]); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return w.Flush()
}

func readBlocks(name string) ([][]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for len(data) >= 8 {
		n := binary.LittleEndian.Uint64(data)
		if data = data[8:]; uint64(len(data)) < n {
			return nil, io.ErrUnexpectedEOF
		}
		out = append(out, data[:n])
		data = data[n:]
	}
	return out, nil
}

// run is the measurement, in the child.
func (b *bareRequest) run(eng *engine.Engine) (BareResult, error) {
	if b.Query != nil {
		return b.Query.run(eng)
	}
	blocks, err := readBlocks(b.File)
	if err != nil {
		return BareResult{}, fmt.Errorf("read blocks: %w", err)
	}
	setup, err := eng.NewSession()
	if err != nil {
		return BareResult{}, err
	}
	defer setup.Close()
	for _, sql := range b.Setup {
		if _, err := setup.Blocks(context.Background(), sqltext.Parse(sql), nil, func([]byte, engine.Stats) error { return nil }); err != nil {
			return BareResult{}, fmt.Errorf("%s: %w", sql, err)
		}
	}
	st := sqltext.Parse(b.Insert)
	sessions := make([]*engine.Session, max(b.Sessions, 1))
	for i := range sessions {
		if sessions[i], err = eng.NewSession(); err != nil {
			return BareResult{}, err
		}
		defer sessions[i].Close()
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		res  BareResult
		errs error
		next = make(chan int)
	)
	start := time.Now()
	for _, sess := range sessions {
		wg.Go(func() {
			for i := range next {
				rows, err := b.insert(sess, st, i, blocks[i])
				mu.Lock()
				res.Rows += rows
				res.Bytes += uint64(len(blocks[i]))
				errs = errors.Join(errs, err)
				mu.Unlock()
			}
		})
	}
	for i := range blocks {
		next <- i
	}
	close(next)
	wg.Wait()
	res.Elapsed = time.Since(start)
	return res, errs
}

// run is the measurement, in the child.
func (q *BareQuery) run(eng *engine.Engine) (BareResult, error) {
	sess, err := eng.NewSession()
	if err != nil {
		return BareResult{}, err
	}
	defer sess.Close()
	drop := func([]byte, engine.Stats) error { return nil }
	for _, sql := range q.Setup {
		if _, err := sess.Blocks(context.Background(), sqltext.Parse(sql), nil, drop); err != nil {
			return BareResult{}, fmt.Errorf("%s: %w", sql, err)
		}
	}
	st := sqltext.Parse(q.Query)
	var res BareResult
	for range q.Runs {
		start := time.Now()
		stats, err := sess.Blocks(context.Background(), st, nil, func(b []byte, _ engine.Stats) error { res.Bytes += uint64(len(b)); return nil })
		if err != nil {
			return BareResult{}, fmt.Errorf("%s: %w", q.Query, err)
		}
		took := time.Since(start)
		res.Rows += stats.ResultRows
		res.Elapsed += took
		res.Each = append(res.Each, took)
	}
	return res, nil
}

func (b *bareRequest) insert(sess *engine.Session, st sqltext.Statement, i int, block []byte) (uint64, error) {
	if b.Token != "" {
		err := sess.Prepare([]engine.Setting{{Name: "insert_deduplication_token", Value: b.Token + strconv.Itoa(i)}})
		if err != nil {
			return 0, err
		}
	}
	feed, err := sess.Insert(st.Insert, "Native", nil)
	if err != nil {
		return 0, err
	}
	const piece = 1 << 20
	for rest := block; len(rest) > 0; {
		n := min(len(rest), piece)
		if !feed.Append(rest[:n]) {
			break
		}
		rest = rest[n:]
	}
	stats, err := feed.Commit()
	return stats.WrittenRows, err
}

// NativeBlocks takes the body of a FORMAT Native answer apart into its blocks.
func NativeBlocks(body []byte) ([][]byte, error) {
	var w native.Walker
	var out [][]byte
	for len(body) > 0 {
		n := 0
		src := native.Bytes(body)
		_, err := w.Walk(&src, func(b []byte) error { n += len(b); return nil }, native.Options{OutEmpty: true})
		if err != nil {
			return nil, fmt.Errorf("take Native blocks apart: %w", err)
		}
		out = append(out, body[:n])
		body = body[n:]
	}
	return out, nil
}
