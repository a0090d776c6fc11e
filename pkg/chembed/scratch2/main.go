package main

import (
	"fmt"
	"os"
	"io"
	"sync"
	"time"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
)

func rss() string {
	b, _ := os.ReadFile("/proc/self/status")
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "Threads") || strings.HasPrefix(l, "RssAnon") || strings.HasPrefix(l, "VmHWM") {
			out = append(out, strings.Join(strings.Fields(l), " "))
		}
	}
	return strings.Join(out, " ")
}
func q(c *libchdb.Conn, sql, f string) {
	t := time.Now()
	r, err := c.Query(sql, f)
	d := time.Since(t)
	s := string(r.Bytes())
	if len(s) > 1500 { s = s[:1500] }
	fmt.Printf("%s => %v err=%v\n%s %+v\n", sql, d, err, s, r.Stats())
	r.Free()
}

func ins(c *libchdb.Conn, sql string, block []byte, chunk int, done bool) {
	t := time.Now()
	in, err := c.Insert(sql, "Native")
	if err != nil { fmt.Println("insert:", err); return }
	t1 := time.Since(t)
	for b := block; len(b) > 0; {
		n := min(chunk, len(b))
		if !in.Append(b[:n]) { fmt.Println("append failed"); break }
		b = b[n:]
	}
	t2 := time.Since(t)
	if !done { time.Sleep(50*time.Millisecond); in.Cancel(); in.Close(); fmt.Println("cancelled", time.Since(t)); return }
	s, err := in.Done()
	in.Close()
	fmt.Println("insert", t1, t2, time.Since(t), err, s.WrittenRows)
}

func main() {
	l, err := libchdb.Load(os.Args[1])
	if err != nil { panic(err) }
	dir := os.Args[2]
	args := append([]string{"--path=" + dir}, os.Args[3:]...)
	c, err := l.Connect(args...)
	if err != nil { panic(err) }
	mk := "(event_time DateTime64(9), symbol LowCardinality(String), price Decimal(18,8), size UInt32, seq UInt64, idx UInt32, src LowCardinality(String)) ENGINE=MergeTree ORDER BY (symbol, event_time, seq) SETTINGS non_replicated_deduplication_window=1000"
	q(c, "CREATE TABLE t "+mk, "Null")
	sel := "SELECT toDateTime64('2026-01-01 00:00:00',9)+number/1000 AS event_time, toLowCardinality(['CORZ','BTBT','IREN','WGMI'][1+number%%4]) AS symbol, toDecimal64(10+number%%1000/100,8) AS price, toUInt32(number%%500) AS size, number AS seq, toUInt32(number%%300) AS idx, toLowCardinality('sim-alpaca') AS src FROM numbers(%d) SETTINGS max_block_size=3000000, max_threads=1"
	block := func(n int) []byte {
		s, err := c.Stream(fmt.Sprintf(sel, n), "Native")
		if err != nil { panic(err) }
		defer s.Close()
		var out []byte
		k := 0
		for { r, err := s.Next(); if err != nil { panic(err) }; if r == nil { break }; out = append(out, r.Bytes()...); r.Free(); k++ }
		fmt.Println("block", n, "chunks", k, len(out))
		return out
	}
	b100 := block(100000)
	c.Exec("SET async_insert=0")
	for i := 0; i < 5; i++ { ins(c, "INSERT INTO t (event_time,symbol,price,size,seq,idx,src)", b100, 1<<20, true) }
	ins(c, "INSERT INTO t", b100, 1<<16, true)
	ins(c, "INSERT INTO t", b100, len(b100), true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	ins(c, "INSERT INTO t", b100, 1<<20, false)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	// file pipe
	for i := 0; i < 5; i++ {
		t := time.Now()
		r, w, _ := os.Pipe()
		var wg sync.WaitGroup
		wg.Add(1)
		go func() { defer wg.Done(); w.Write(b100); w.Close() }()
		err := c.Exec(fmt.Sprintf("INSERT INTO t SELECT * FROM file('/proc/self/fd/%d','Native') SETTINGS max_insert_threads=1", r.Fd()))
		wg.Wait(); r.Close()
		fmt.Println("file pipe", time.Since(t), err)
	}
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	q(c, "TRUNCATE TABLE t", "TSV")
	b2m := block(2000000)
	ins(c, "INSERT INTO t SETTINGS insert_deduplication_token='a'", b2m, 1<<20, true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	ins(c, "INSERT INTO t SETTINGS insert_deduplication_token='a'", b2m, 1<<20, true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	q(c, "TRUNCATE TABLE t", "TSV")
	ins(c, "INSERT INTO t SETTINGS insert_deduplication_token='b'", b100, 1<<20, true)
	ins(c, "INSERT INTO t SETTINGS insert_deduplication_token='b'", b100, 1<<16, true)
	ins(c, "INSERT INTO t SETTINGS insert_deduplication_token='c'", b100, 1<<16, true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	q(c, "SET insert_deduplication_token='b'", "TSV")
	ins(c, "INSERT INTO t", b100, 1<<16, true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	q(c, "SET insert_deduplication_token=DEFAULT", "TSV")
	// bad
	ins(c, "INSERT INTO nope", b100, 1<<16, true)
	ins(c, "INSERT INTO t (nope)", b100, 1<<16, true)
	ins(c, "INSERT INTO t", []byte("garbage garbage garbage garbage garbage"), 1<<16, true)
	ins(c, "INSERT INTO t", b100[:len(b100)-100], 1<<16, true)
	q(c, "SELECT count(), uniq(_part) FROM t", "TSV")
	q(c, "SELECT type, name, value FROM system.settings WHERE name in ('async_insert','max_insert_block_size','min_insert_block_size_rows','min_insert_block_size_bytes','max_insert_block_size_bytes','max_memory_usage','max_threads','deduplicate_insert','insert_deduplicate','use_async_executor_for_materialized_views','max_execution_time','max_block_size','input_format_parallel_parsing')", "TSV")
	// outfile
	for _, f := range []string{"JSON","CSVWithNames","Parquet"} {
		t := time.Now()
		r, w, _ := os.Pipe()
		ch := make(chan int)
		go func() { b, _ := io.ReadAll(r); ch <- len(b) }()
		fd := w.Fd()
		res, err := c.Query(fmt.Sprintf("SELECT number, toString(number) s FROM numbers(2000000) INTO OUTFILE '/proc/self/fd/%d' TRUNCATE FORMAT %s SETTINGS max_threads=2", fd, f), "Null")
		w.Close()
		n := <-ch
		fmt.Println("outfile", f, n, time.Since(t), err, res.Stats(), len(res.Bytes()))
		res.Free()
		r.Close()
		t = time.Now()
		r, w, _ = os.Pipe()
		go func() { b, _ := io.ReadAll(r); ch <- len(b) }()
		fd = w.Fd()
		res, err = c.Query(fmt.Sprintf("INSERT INTO FUNCTION file('/proc/self/fd/%d', '%s') SELECT number, toString(number) s FROM numbers(2000000) ", fd, f), "Null")
		w.Close()
		n = <-ch
		fmt.Println("insert into file", f, n, time.Since(t), err, res.Stats(), len(res.Bytes()))
		res.Free()
		r.Close()
	}
	fmt.Println(rss())
	time.Sleep(2*time.Second)
	fmt.Println(rss())
	c.Close()
	os.Exit(0)
}
