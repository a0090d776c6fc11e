package tcpserver

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// insert takes the client's blocks. The engine commits when, and only when, the
// client's empty block has come: a client that goes away inserts nothing.
//
// Every block goes to the engine as it is, so one block of the client is one
// block for the table, whatever the pieces it arrived in: deduplication tokens
// depend on it.
func (c *conn) insert(st sqltext.Statement, params []engine.Param) error {
	cols, err := c.session.InsertHeader(st.Insert, params)
	if err != nil {
		return err
	}
	feed, err := c.session.Insert(st.Insert, "Native", params)
	if err != nil {
		return err
	}
	open := true
	defer func() {
		if open {
			feed.Abort()
		}
	}()
	if err := c.header(cols); err != nil {
		return err
	}
	start := time.Now()
	stopped := false
	sink := func(b []byte) error {
		// When the engine has failed, the rest of the block is passed over, to
		// stay in step with the client.
		if !stopped && !feed.Append(b) {
			stopped = true
		}
		return nil
	}
	for {
		_ = c.nc.SetReadDeadline(time.Now().Add(packetTimeout))
		packet, err := c.r.Uvarint()
		if err != nil {
			return fatalError{err}
		}
		if packet == native.ClientCancel {
			return engine.NewError(engine.CodeCancelled, "QUERY_WAS_CANCELLED", "Insert was cancelled by the client")
		}
		if packet != native.ClientData {
			return fatalError{c.protocolError(engine.NewError(engine.CodeUnexpected, "UNEXPECTED_PACKET_FROM_CLIENT",
				"Unexpected packet %d from client, data was expected", packet))}
		}
		if _, err := c.r.TableName(); err != nil {
			return fatalError{err}
		}
		b, err := c.walkIn.Walk(c.source(), sink, native.InOptions(c.rev))
		if err != nil {
			open = false
			feed.Abort()
			return fatalError{c.protocolError(err)}
		}
		if stopped {
			// The client learns at once why; blocks that it has on their way are
			// skipped as they come.
			open = false
			if _, err = feed.Commit(); err == nil {
				err = engine.NewError(engine.CodeUnexpected, "UNKNOWN_EXCEPTION", "The engine stopped the insert without a reason")
			}
			return err
		}
		if b.Columns == 0 {
			break
		}
		if err := c.send(func() { c.w.InsertEvents(c.rev) }); err != nil {
			return fatalError{err}
		}
	}
	open = false
	stats, err := feed.Commit()
	if err != nil {
		return err
	}
	return c.insertEnd(stats, start)
}

// insertInline stores data that came in the query's text.
func (c *conn) insertInline(st sqltext.Statement, data string, params []engine.Param) error {
	start := time.Now()
	feed, err := c.session.Insert(st.Insert, st.Insert.Format, params)
	if err != nil {
		return err
	}
	feed.Append([]byte(data))
	stats, err := feed.Commit()
	if err != nil {
		return err
	}
	return c.insertEnd(stats, start)
}

func (c *conn) insertEnd(stats engine.Stats, start time.Time) error {
	err := c.send(func() {
		c.w.InsertEvents(c.rev)
		if native.WriteInfo(c.rev) {
			c.told = engine.Stats{}
			c.progressLocked(stats, 0, start)
		}
		c.w.Uvarint(native.ServerEndOfStream)
	})
	if err != nil {
		return fatalError{err}
	}
	return nil
}
