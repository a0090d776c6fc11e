package tcpserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// query runs one query and answers it to its end. Its error is one that ends the
// connection; what is wrong with the query goes to the client as an exception.
func (c *conn) query(q native.Query) error {
	c.compression = q.Compression
	external, err := c.skipExternal()
	if err != nil {
		return c.protocolError(err)
	}
	err = c.run(q, external)
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

func (c *conn) run(q native.Query, external bool) error {
	if external {
		return engine.NewError(engine.CodeNotImplemented, "NOT_IMPLEMENTED",
			"External tables are not supported here: use a temporary table, or a literal list")
	}
	st := sqltext.Parse(q.Body)
	if st.Kind != sqltext.KindInsert {
		if err := engine.CheckSingle(st); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(c.srv.ctx)
	defer cancel()
	if err := c.srv.cfg.Engine.Acquire(ctx); err != nil {
		return err
	}
	defer c.srv.cfg.Engine.Release()

	settings := make([]engine.Setting, 0, len(q.Settings))
	c.frames.SetMethod(native.MethodLZ4)
	for _, s := range q.Settings {
		if s.Name == "network_compression_method" && strings.EqualFold(s.Value, "ZSTD") {
			c.frames.SetMethod(native.MethodZSTD)
		}
		settings = append(settings, engine.Setting{Name: s.Name, Value: s.Value, Important: s.Flags&native.SettingImportant != 0})
	}
	if err := c.session.Prepare(settings); err != nil {
		return err
	}
	params := make([]engine.Param, 0, len(q.Params))
	for _, p := range q.Params {
		params = append(params, engine.Param{Name: p.Name, Value: native.Unquote(p.Value)})
	}
	if st.Kind == sqltext.KindInsert {
		if inline := st.InlineData(q.Body); inline != "" {
			return c.insertInline(st, inline, params)
		}
		if strings.EqualFold(st.Insert.Format, "Native") || strings.EqualFold(st.Insert.Format, "Values") {
			return c.insert(st, params)
		}
		return engine.NewError(engine.CodeNotImplemented, "NOT_IMPLEMENTED",
			"INSERT with FORMAT %s and no data: over the native protocol data comes in Native blocks", st.Insert.Format)
	}
	return c.selectBlocks(ctx, cancel, st, params)
}

// selectBlocks answers with blocks, progress and the end of stream.
func (c *conn) selectBlocks(ctx context.Context, cancel context.CancelFunc, st sqltext.Statement, params []engine.Param) error {
	start := time.Now()
	stop := c.attend(cancel)
	var rows, blocks, bytes uint64
	var told engine.Stats
	stats, err := c.session.Blocks(ctx, st, params, func(block []byte, delta engine.Stats) error {
		if blocks == 0 {
			// What cannot be walked must end in an exception, not in half a
			// packet. The later blocks have the first one's types.
			src := native.Bytes(block)
			if _, err := c.walkOut.Walk(&src, func([]byte) error { return nil }, native.Options{}); err != nil {
				return dataError(err)
			}
		}
		c.wmu.Lock()
		defer c.wmu.Unlock()
		told.Add(delta)
		c.progressLocked(delta, start)
		b, err := c.blockLocked(block)
		rows += b.Rows
		blocks++
		bytes += uint64(len(block))
		return err
	})
	stop()
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
		stats.ReadRows -= told.ReadRows
		stats.ReadBytes -= told.ReadBytes
		stats.WrittenRows -= told.WrittenRows
		stats.WrittenBytes -= told.WrittenBytes
		c.progressLocked(stats, start)
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
	block := native.HeaderBlock(names, types, c.rev)
	var err error
	sendErr := c.send(func() {
		c.w.Uvarint(native.ServerData)
		c.w.Str("")
		if !c.compression {
			_, _ = c.w.Write(block)
			return
		}
		if _, err = c.frames.Write(block); err == nil {
			err = c.frames.Flush()
		}
	})
	if err != nil {
		return fatalError{err}
	}
	if sendErr != nil {
		return fatalError{sendErr}
	}
	return nil
}

func (c *conn) progressLocked(s engine.Stats, start time.Time) {
	c.w.Progress(native.Progress{
		Rows: s.ReadRows, Bytes: s.ReadBytes, WrittenRows: s.WrittenRows, WrittenBytes: s.WrittenBytes,
		ElapsedNanos: uint64(time.Since(start)),
	}, c.rev)
}

// blockLocked sends one of the engine's blocks.
func (c *conn) blockLocked(block []byte) (native.Block, error) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(packetTimeout))
	c.w.Uvarint(native.ServerData)
	c.w.Str("")
	src := native.Bytes(block)
	sink := func(b []byte) error { _, err := c.w.Write(b); return err }
	if c.compression {
		sink = func(b []byte) error { _, err := c.frames.Write(b); return err }
	}
	b, err := c.walkOut.Walk(&src, sink, native.OutOptions(c.rev))
	if err == nil && c.compression {
		err = c.frames.Flush()
	}
	if err == nil {
		err = c.w.Flush()
	}
	c.lastOut = time.Now()
	if errors.Is(err, native.ErrUnsupported) || errors.Is(err, native.ErrMalformed) {
		// The packet is half out: the client cannot be kept.
		err = fatalError{fmt.Errorf("send block: %w", err)}
	}
	return b, err
}

// attend watches over a running query: it cancels it when the client says so or
// goes away, and sends a sign of life when there is nothing else to send. stop
// ends both and waits.
func (c *conn) attend(cancel context.CancelFunc) (stop func()) {
	_ = c.nc.SetReadDeadline(time.Time{})
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		b, err := c.r.Peek(1)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				cancel()
			}
			return
		}
		if b[0] == native.ClientCancel {
			_, _ = c.r.Discard(1)
			cancel()
		}
	}()
	done := make(chan struct{})
	beaten := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(beaten)
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
			if time.Since(c.lastOut) >= heartbeat {
				if err := c.sendLocked(func() { c.progressLocked(engine.Stats{}, start) }); err != nil {
					cancel()
				}
			}
			c.wmu.Unlock()
		}
	}()
	return func() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		<-listened
		_ = c.nc.SetReadDeadline(time.Time{})
		close(done)
		<-beaten
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

// skipExternal passes the external tables behind a query, up to the empty block
// that ends them, and says whether there was one.
func (c *conn) skipExternal() (bool, error) {
	found := false
	for {
		packet, err := c.r.Uvarint()
		if err != nil {
			return found, err
		}
		if packet != native.ClientData {
			return found, engine.NewError(engine.CodeUnexpected, "UNEXPECTED_PACKET_FROM_CLIENT",
				"Unexpected packet %d from client, data was expected", packet)
		}
		b, err := c.skipData()
		if err != nil {
			return found, err
		}
		if b.Columns == 0 {
			return found, nil
		}
		found = true
	}
}
