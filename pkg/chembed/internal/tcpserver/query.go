package tcpserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// query runs one query and answers it to its end. Its error is one that ends the
// connection; what is wrong with the query goes to the client as an exception.
func (c *conn) query(q native.Query) error {
	c.compression = q.Compression
	refused, err := c.external()
	if err != nil {
		c.session.DropExternal()
		return c.protocolError(err)
	}
	if err = refused; err == nil {
		err = c.execute(q)
	}
	c.frameIn.Shrink()
	var fatal fatalError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fatal):
		return fatal.err
	}
	e := engine.AsException(err)
	return c.send(func() { c.w.Exception(e.Code, e.Text) })
}

// fatalError is one after which the connection cannot go on.
type fatalError struct{ err error }

func (e fatalError) Error() string { return e.err.Error() }
func (e fatalError) Unwrap() error { return e.err }

func (c *conn) execute(q native.Query) (err error) {
	st := sqltext.Parse(q.Body)
	if st.Kind != sqltext.KindInsert {
		if err := engine.CheckSingle(st); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(c.srv.ctx)
	defer cancel()
	settings := make([]engine.Setting, 0, len(q.Settings))
	c.frames.SetMethod(native.MethodLZ4)
	c.extremes, c.patience = false, packetTimeout
	for _, s := range q.Settings {
		if s.Name == "network_compression_method" && strings.EqualFold(s.Value, "ZSTD") {
			c.frames.SetMethod(native.MethodZSTD)
		}
		if s.Name == "extremes" {
			c.extremes = s.Value == "1" || strings.EqualFold(s.Value, "true")
		}
		if seconds, err := strconv.ParseFloat(s.Value, 64); s.Name == "receive_timeout" && err == nil && seconds > 0 && seconds < packetTimeout.Seconds() {
			c.patience = time.Duration(seconds * float64(time.Second))
		}
		settings = append(settings, engine.Setting{Name: s.Name, Value: s.Value, Important: s.Flags&native.SettingImportant != 0})
	}
	run, err := c.session.Begin(ctx, engine.Query{
		ID: q.ID, Account: c.account, Remote: c.nc.RemoteAddr().String(), Agent: c.agent, Statement: st, SQL: q.Body, Settings: settings,
	})
	if err != nil {
		return err
	}
	c.run = run
	defer func() {
		c.run = nil
		run.End(err)
	}()
	st = run.Statement
	params := make([]engine.Param, 0, len(q.Params))
	for _, p := range q.Params {
		params = append(params, engine.Param{Name: p.Name, Value: native.Unquote(p.Value)})
	}
	if st.Kind == sqltext.KindInsert {
		if inline := st.InlineData(q.Body); inline != "" {
			return c.insertInline(st, inline, params)
		}
		// Whatever format the client reads its own input in, what it sends are blocks.
		return c.insert(st, params)
	}
	return c.selectBlocks(ctx, cancel, st, params)
}

// blocks come from the engine's stream, or, where there are totals or extremes, from what takes their result apart.
func (c *conn) blocks(ctx context.Context, st sqltext.Statement, params []engine.Param, sink func(packet uint64, block []byte, delta engine.Stats) error) (engine.Stats, error) {
	if st.Kind != sqltext.KindQuery || !c.extremes && !sqltext.HasTotals(st.Text) {
		return c.session.Blocks(ctx, st, params, func(block []byte, delta engine.Stats) error { return sink(native.ServerData, block, delta) })
	}
	packets := map[engine.Part]uint64{engine.PartData: native.ServerData, engine.PartTotals: native.ServerTotals, engine.PartExtremes: native.ServerExtremes}
	return c.session.Totals(ctx, st, params, func(part engine.Part, block []byte) error { return sink(packets[part], block, engine.Stats{}) })
}

// selectBlocks answers with blocks, progress and the end of stream.
func (c *conn) selectBlocks(ctx context.Context, cancel context.CancelFunc, st sqltext.Statement, params []engine.Param) error {
	start := time.Now()
	var cancelled atomic.Bool
	stop := c.attend(func(asked bool) {
		cancelled.Store(asked)
		cancel()
	})
	var rows, blocks, bytes uint64
	c.wmu.Lock()
	c.told, c.seen = engine.Stats{}, engine.Stats{}
	c.wmu.Unlock()
	stats, err := c.blocks(ctx, st, params, func(packet uint64, block []byte, delta engine.Stats) error {
		if blocks == 0 {
			// What cannot be walked must end in an exception, not in half a
			// packet. The later blocks have the first one's types.
			src := native.Bytes(block)
			b, err := c.walkOut.Walk(&src, func([]byte) error { return nil }, native.Options{Describe: true})
			if err != nil {
				return dataError(err)
			}
			// Clients learn the columns from a block without rows before the first one.
			c.wmu.Lock()
			err = c.headerLocked(b.Names, b.Types)
			c.wmu.Unlock()
			if err != nil {
				return fatalError{err}
			}
		}
		b, err := c.block(ctx, packet, block, delta, start)
		if packet != native.ServerData {
			return err
		}
		rows += b.Rows
		blocks++
		bytes += uint64(len(block))
		return err
	})
	stop()
	if cancelled.Load() && ctx.Err() != nil && !isNetwork(err) && c.srv.ctx.Err() == nil {
		// Who sends Cancel reads on up to the end of the stream.
		if err := c.send(func() { c.w.Uvarint(native.ServerEndOfStream) }); err != nil {
			return fatalError{err}
		}
		return nil
	}
	if err == nil && blocks == 0 && st.Kind == sqltext.KindQuery {
		err = c.emptyHeader(st, params)
	}
	if err != nil {
		if ctx.Err() == nil && isNetwork(err) {
			return fatalError{err}
		}
		return err
	}
	err = c.send(func() {
		c.w.ProfileInfo(rows, blocks, bytes)
		c.progressLocked(stats, 0, start)
		c.w.Uvarint(native.ServerEndOfStream)
	})
	if err != nil {
		return fatalError{err}
	}
	return nil
}

func isNetwork(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t)
}

// emptyHeader tells the columns of a result without rows.
func (c *conn) emptyHeader(st sqltext.Statement, params []engine.Param) error {
	cols, err := c.session.Header(st, params)
	if err != nil {
		return nil // a statement that has no columns, or that DESCRIBE does not take
	}
	return c.header(cols)
}

func (c *conn) header(cols []engine.Column) error {
	names, types := make([]string, len(cols)), make([]string, len(cols))
	for i, col := range cols {
		names[i], types[i] = col.Name, col.Type
	}
	var err error
	if sendErr := c.send(func() { err = c.headerLocked(names, types) }); sendErr != nil {
		return fatalError{sendErr}
	}
	if err != nil {
		return fatalError{err}
	}
	return nil
}

// headerLocked sends a block of columns without rows.
func (c *conn) headerLocked(names, types []string) error {
	block := native.HeaderBlock(names, types, c.rev)
	c.w.Uvarint(native.ServerData)
	c.w.Str("")
	if !c.compression {
		_, err := c.w.Write(block)
		return err
	}
	if _, err := c.frames.Write(block); err != nil {
		return err
	}
	return c.frames.Flush()
}

// progressLocked tells what came to what was told before, which all the packets of a query add up to; rows is how many there are to read, once.
func (c *conn) progressLocked(now engine.Stats, rows uint64, start time.Time) {
	more := func(told *uint64, now uint64) uint64 {
		if now <= *told {
			return 0
		}
		d := now - *told
		*told = now
		return d
	}
	t := &c.told
	c.w.Progress(native.Progress{
		Rows: more(&t.ReadRows, now.ReadRows), Bytes: more(&t.ReadBytes, now.ReadBytes), TotalRows: rows,
		WrittenRows: more(&t.WrittenRows, now.WrittenRows), WrittenBytes: more(&t.WrittenBytes, now.WrittenBytes),
		ElapsedNanos: uint64(time.Since(start)),
	}, c.rev)
}

// block sends one of the engine's blocks, and before it how far the query is.
func (c *conn) block(ctx context.Context, packet uint64, block []byte, delta engine.Stats, start time.Time) (b native.Block, err error) {
	err = c.run.Unhurried(ctx, func() error {
		c.wmu.Lock()
		defer c.wmu.Unlock()
		_ = c.nc.SetWriteDeadline(time.Now().Add(packetTimeout))
		c.seen.Add(delta)
		c.progressLocked(c.seen, 0, start)
		b, err = c.blockLocked(packet, block)
		return err
	})
	if errors.Is(err, native.ErrUnsupported) || errors.Is(err, native.ErrMalformed) {
		// The packet is half out: the client cannot be kept.
		err = fatalError{fmt.Errorf("send block: %w", err)}
	}
	return b, err
}

func (c *conn) blockLocked(packet uint64, block []byte) (native.Block, error) {
	c.w.Uvarint(packet)
	c.w.Str("")
	src := native.Bytes(block)
	sink := c.w.Lend
	if c.compression {
		sink = func(b []byte) error { _, err := c.frames.Write(b); return err }
	}
	b, err := c.walkOut.Walk(&src, sink, native.OutOptions(c.rev))
	if err != nil {
		c.w.Abandon(err)
		return b, err
	}
	if c.compression {
		if err := c.frames.Flush(); err != nil {
			return b, err
		}
	}
	if len(block) >= smallBlock {
		return b, c.flushLocked()
	}
	c.flusher.Reset(flushAfter)
	return b, nil
}

// smallBlock is below what size a block waits for what comes behind it. It is below that of a piece that is lent.
const smallBlock = 4 << 10

// attend watches over a query that takes its time: it cancels it when the client says so or goes away, and sends a sign of life when there is nothing else to
// send. stop ends both and waits.
func (c *conn) attend(cancel func(asked bool)) (stop func()) {
	_ = c.nc.SetReadDeadline(time.Time{})
	start := time.Now()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Add(1)
	late := time.AfterFunc(attendAfter, func() {
		defer watching.Done()
		watching.Go(func() { c.listen(cancel) })
		c.beat(done, start, func() { cancel(false) })
	})
	return func() {
		if late.Stop() {
			return
		}
		close(done)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		watching.Wait()
		_ = c.nc.SetReadDeadline(time.Time{})
	}
}

// listen waits for the client to cancel its query, or to go away.
func (c *conn) listen(cancel func(asked bool)) {
	b, err := c.r.Peek(1)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(false)
		}
		return
	}
	if b[0] == native.ClientCancel {
		_, _ = c.r.Discard(1)
		cancel(true)
	}
}

// beat tells a client that waits how far its query is.
func (c *conn) beat(done <-chan struct{}, start time.Time, gone func()) {
	total := uint64(0) // rows to read, as far as told
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if !c.wmu.TryLock() {
			continue // something is being sent
		}
		quiet := time.Since(c.lastOut) >= heartbeat
		c.wmu.Unlock()
		if !quiet {
			continue
		}
		now, rows := c.session.Progress()
		if !c.wmu.TryLock() {
			continue
		}
		if time.Since(c.lastOut) >= heartbeat {
			more := rows - min(rows, total)
			total = max(total, rows)
			if err := c.sendLocked(func() { c.progressLocked(now, more, start) }); err != nil {
				gone()
			}
		}
		c.wmu.Unlock()
	}
}

// source is where the next block of the client comes from.
func (c *conn) source() native.Source {
	if c.compression {
		return c.frameIn
	}
	return c.plainIn
}

// skipData passes a data packet behind its number.
func (c *conn) skipData() (native.Block, error) {
	if _, err := c.r.TableName(); err != nil {
		return native.Block{}, err
	}
	return c.walkIn.Walk(c.source(), func([]byte) error { return nil }, native.InOptions(c.rev))
}

// external stores the external tables behind a query, up to the empty block that ends them. refused is what was wrong with them; err is what was wrong with
// the bytes, after which the connection is out of step.
func (c *conn) external() (refused, err error) {
	var feed *engine.Feed
	open := ""
	finish := func() {
		if feed == nil {
			return
		}
		if _, err := feed.Commit(); err != nil && refused == nil {
			refused = err
		}
		feed = nil
	}
	defer func() {
		if feed != nil {
			feed.Abort()
		}
		if refused != nil {
			c.session.DropExternal()
		}
	}()
	for {
		packet, err := c.r.Uvarint()
		if err != nil {
			return refused, err
		}
		if packet != native.ClientData {
			return refused, engine.NewError(engine.CodeUnexpected, "UNEXPECTED_PACKET_FROM_CLIENT",
				"Unexpected packet %d from client, data was expected", packet)
		}
		name, err := c.r.TableName()
		if err != nil {
			return refused, err
		}
		// The columns are known only behind the block, and the table is made of them.
		var block []byte
		options := native.InOptions(c.rev)
		options.Describe = true
		b, err := c.walkIn.Walk(c.source(), func(p []byte) error {
			if len(block)+len(p) > maxExternalBlock {
				return engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS", "A block of the external table %s is larger than %d bytes: send smaller blocks", name, maxExternalBlock)
			}
			if refused == nil {
				block = append(block, p...)
			}
			return nil
		}, options)
		if err != nil {
			return refused, err
		}
		if b.Columns == 0 {
			finish()
			return refused, nil
		}
		if refused != nil {
			continue // to stay in step with the client
		}
		if feed == nil || open != name {
			finish()
			columns := make([]engine.Column, b.Columns)
			for i := range columns {
				columns[i] = engine.Column{Name: b.Names[i], Type: b.Types[i]}
			}
			open = name
			if feed, refused = c.session.External(name, columns, "Native"); refused != nil {
				feed = nil
				continue
			}
		}
		if !feed.Append(block) {
			finish()
			if refused == nil {
				refused = engine.NewError(engine.CodeIncorrectData, "INCORRECT_DATA", "The engine does not take the external table %s", name)
			}
		}
	}
}

// maxExternalBlock bounds what a block of an external table makes us hold.
const maxExternalBlock = 64 << 20
