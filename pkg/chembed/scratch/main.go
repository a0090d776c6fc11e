package main

import (
	"fmt"
	"os"
	"time"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
)

func rss() string {
	b, _ := os.ReadFile("/proc/self/status")
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "Threads") || strings.HasPrefix(l, "RssAnon") || strings.HasPrefix(l, "RssFile") {
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
func st(c *libchdb.Conn, sql, f string) {
	t := time.Now()
	s, err := c.Stream(sql, f)
	if err != nil { fmt.Println("stream err", err); return }
	defer s.Close()
	n := 0
	for {
		r, err := s.Next()
		if err != nil { fmt.Println("next err", err); return }
		if r == nil { break }
		b := r.Bytes()
		if n < 3 { x := b; if len(x) > 120 { x = x[:120] }; fmt.Printf("chunk %d len %d %q ... %q %+v\n", n, len(b), x, b[max(0,len(b)-60):], r.Stats()) }
		n++
		r.Free()
	}
	fmt.Println(sql, f, "chunks", n, time.Since(t))
}

func main() {
	t := time.Now()
	l, err := libchdb.Load(os.Args[1])
	fmt.Println("load", time.Since(t), err, rss())
	if err != nil { os.Exit(1) }
	fmt.Println(l.Version())
	dir := os.Args[2]
	t = time.Now()
	args := append([]string{"--path=" + dir}, os.Args[3:]...)
	c, err := l.Connect(args...)
	fmt.Println("connect", time.Since(t), err, rss())
	t = time.Now()
	c2, err := l.Connect("--path=" + dir)
	fmt.Println("connect2", time.Since(t), err, rss())
	var cs []*libchdb.Conn
	t = time.Now()
	for i := 0; i < 50; i++ { x, _ := l.Connect("--path=" + dir); cs = append(cs, x) }
	fmt.Println("connect x50", time.Since(t), err, rss())
	q(c, "SELECT version(), timezone(), currentDatabase(), hostName()", "TSV")
	q(c, "SELECT 1", "TSV")
	q(c, "SELECT 1", "TSV")
	st(c, "SELECT 1", "Native")
	st(c, "SELECT 1", "Native")
	q(c, "SET max_block_size=3", "Null")
	q(c, "SET max_block_size=DEFAULT", "Null")
	st(c, "SELECT number, toString(number) s FROM numbers(200000)", "Native")
	st(c, "SELECT number, toString(number) s FROM numbers(200000)", "JSON")
	st(c, "SELECT number, toString(number) s FROM numbers(200000)", "CSVWithNames")
	st(c, "SELECT number FROM numbers(0)", "Native")
	st(c, "SELECT number FROM numbers(0)", "JSON")
	st(c, "SHOW TABLES FROM system LIKE 'o%'", "Native")
	st(c, "DESCRIBE (SELECT toLowCardinality('a') AS a, 1::Decimal(18,8) AS b)", "Native")
	st(c, "EXISTS TABLE x", "Native")
	st(c, "WITH 1 AS x SELECT x", "Native")
	st(c, "CREATE TABLE IF NOT EXISTS t (a UInt64, b LowCardinality(String)) ENGINE=MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window=1000", "Native")
	st(c, "INSERT INTO t SELECT number, 'x' FROM numbers(5)", "Native")
	st(c, "INSERT INTO t VALUES (7,'y')", "Native")
	st(c, "SELECT * FROM t", "Native")
	st(c, "SELECT * FROM nope", "Native")
	st(c, "SELECT sleepEachRow(0.01), throwIf(number=25) FROM numbers(100) SETTINGS max_block_size=10", "Native")
	fmt.Printf("%+v\n", c.Classify("SELECT 1; SELECT 2"))
	fmt.Printf("%+v\n", c.Classify("INSERT INTO t VALUES"))
	fmt.Printf("%+v\n", c.Classify("INSERT INTO t FORMAT Native"))
	fmt.Printf("%+v\n", c.Classify("SET a=1"))
	q(c, "SELECT name,value,changed FROM system.server_settings WHERE name like '%pool_size%' or name like '%cache_size' or name like 'max_server%'", "TSV")
	fmt.Println(rss())
	q(c, "SELECT query, query_id, Settings['log_comment'] FROM system.processes SETTINGS log_comment='abc'", "TSV")
	_ = c2
	time.Sleep(3*time.Second)
	fmt.Println(rss())
	for _, x := range cs { x.Close() }
	c2.Close()
	c.Close()
	os.Exit(0)
}
