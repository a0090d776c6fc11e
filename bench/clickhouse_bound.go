package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// chNative are the clients of the native protocol: ask reads the answer to a query to its end.
var chNative = []struct {
	name string
	dial func(ctx context.Context, addr string) (ask func(sql string) error, end func() error, err error)
}{
	{"ch_go", func(ctx context.Context, addr string) (func(string) error, func() error, error) {
		conn, err := ch.Dial(ctx, ch.Options{Address: addr})
		if err != nil {
			return nil, nil, err
		}
		return func(sql string) error { return chColumns(ctx, conn, sql) }, conn.Close, nil
	}},
	{"clickhouse_go", func(ctx context.Context, addr string) (func(string) error, func() error, error) {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}})
		if err != nil {
			return nil, nil, err
		}
		return func(sql string) error { return chScan(ctx, conn, sql) }, conn.Close, nil
	}},
}

// chBound measures how near to the engine a native client could come at all: the same clients read the same answer once more, from a server that has it in memory
// and does nothing but send it. What they and the engine take by themselves is the least that both together take: in elapsed time on cores that are otherwise idle,
// in processor time where others keep them busy.
func chBound(ctx context.Context, srv *chembed.Server, sql string, engine, engineCPU time.Duration, figures *chFigures) error {
	for _, client := range chNative {
		tape, err := chRecord(ctx, srv.NativeAddr(), sql, func(addr string) error {
			ask, end, err := client.dial(ctx, addr)
			if err != nil {
				return err
			}
			defer func() { _ = end() }()
			return ask(sql)
		})
		if err != nil {
			return fmt.Errorf("record an answer to %s: %w", client.name, err)
		}
		memory, memoryCPU, err := tape.measure(ctx, client.dial)
		if err != nil {
			return fmt.Errorf("replay an answer to %s: %w", client.name, err)
		}
		together := engineCPU + memoryCPU
		least := max(engine, memory, together/time.Duration(runtime.NumCPU()))
		add := func(what string, v, of time.Duration, to string) {
			figures.addRatio("clickhouse_wide_"+client.name+what, ms(v), "ms", of.Seconds()/v.Seconds(), "clickhouse_wide_engine"+to)
		}
		add("_memory", memory, engine, "")
		add("_bound", least, engine, "")
		add("_bound_cpu", together, engineCPU, "_cpu")
	}
	return nil
}

// chTape is what a server said on one connection: in front of a query and after it.
type chTape struct {
	query         []byte
	hello, answer []byte
}

// chRecord has use ask sql of the server at addr, through a listener of its own, and keeps what it answers.
func chRecord(ctx context.Context, addr, sql string, use func(addr string) error) (*chTape, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	tape := &chTape{query: []byte(sql)}
	ended := make(chan error, 1)
	go func() { ended <- tape.record(ctx, ln, addr) }()
	if err := use(ln.Addr().String()); err != nil {
		return nil, err
	}
	return tape, <-ended
}

// record passes one connection on to addr until its client closes it.
func (t *chTape) record(ctx context.Context, ln net.Listener, addr string) error {
	client, err := ln.Accept()
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer server.Close()
	asked := make(chan struct{})
	done := make(chan struct{})
	go func() { // the client's side: ends with its connection
		defer server.Close()
		defer close(done)
		var said []byte
		b := make([]byte, 64<<10)
		open := true
		for {
			n, err := client.Read(b)
			if said = append(said, b[:n]...); open && bytes.Contains(said, t.query) {
				open = false
				close(asked)
			}
			if _, werr := server.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<20)
	for {
		n, err := server.Read(b)
		select {
		case <-asked:
			t.answer = append(t.answer, b[:n]...)
		default:
			t.hello = append(t.hello, b[:n]...)
		}
		if _, werr := client.Write(b[:n]); err != nil || werr != nil {
			<-done
			return nil
		}
	}
}

// measure has a client ask for the answer as often as it is asked of the engine: the middle of what that takes, and the processor time of one, sending and reading.
func (t *chTape) measure(ctx context.Context, dial func(context.Context, string) (func(string) error, func() error, error)) (took, cpu time.Duration, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer ln.Close()
	go t.serve(ln)
	ask, end, err := dial(ctx, ln.Addr().String())
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = end() }()
	before := cpuSeconds()
	var each []time.Duration
	for range chRuns {
		start := time.Now()
		if err := ask(string(t.query)); err != nil {
			return 0, 0, err
		}
		each = append(each, time.Since(start))
	}
	return chMedian(each), time.Duration((cpuSeconds() - before) / chRuns * 1e9), nil
}

// serve answers one connection from memory until its client closes it.
func (t *chTape) serve(ln net.Listener) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	b := make([]byte, 64<<10)
	if _, err := conn.Read(b); err != nil { // the client's hello
		return
	}
	if _, err := conn.Write(t.hello); err != nil {
		return
	}
	var said []byte
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if said = append(said, b[:n]...); bytes.Contains(said, t.query) {
			said = said[:0]
			if _, err := conn.Write(t.answer); err != nil {
				return
			}
		}
	}
}
