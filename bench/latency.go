package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// The load and the length of the latency benchmark.
const (
	// latencyRate is of all upstreams together: Alpaca and Massive tell the whole tape, Finnhub its prints, three events in ten.
	latencyRate = 5000 // events a second
	simRate     = latencyRate * 10 / 23
	latencyWarm = 10 * time.Second
	latencyTime = 30 * time.Second
	latencyPoll = 10 * time.Millisecond // between two questions; it counts into the latency
)

// latency runs the built binary with simulated upstreams at a steady rate and asks ClickHouse, again and again, for what is new: a row's latency
// is from its frame's receive time to the end of the query that first returned it, the query's own time included.
func latency(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.CommandContext(ctx, "bin/hashpivot", "up", "--sim", "--json", "--free-ports", "--data-dir", dir,
		"--set", "sim.rate="+strconv.Itoa(simRate), "--set", "sim.steady=true", "--log-level", "error")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start bin/hashpivot: %w; run make build first", err)
	}
	merr := measure(ctx, bufio.NewReader(stdout), cmd.Process.Pid, print)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(merr, cmd.Wait())
}

func measure(ctx context.Context, out *bufio.Reader, pid int, print func(figure)) error {
	line, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the addresses of bin/hashpivot: %w", err)
	}
	var in struct {
		ClickHouse string `json:"clickhouse"`
		Database   string `json:"database"`
	}
	if err := json.Unmarshal([]byte(line), &in); err != nil {
		return fmt.Errorf("read the addresses of bin/hashpivot: %w", err)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{in.ClickHouse}, Auth: clickhouse.Auth{Database: in.Database}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	var (
		seqs    = map[string]uint64{"trades": 0, "quotes": 0}
		took    []time.Duration
		start   = time.Now()
		counted time.Duration
	)
	for ctx.Err() == nil && time.Since(start) < latencyWarm+latencyTime {
		warm := time.Since(start) < latencyWarm
		select { // a reader in a tight loop would load the engine more than the pipeline does
		case <-ctx.Done():
		case <-time.After(latencyPoll):
		}
		for table := range seqs {
			recv, seq, err := newRows(ctx, conn, table, seqs[table])
			if err != nil {
				return err
			}
			now := time.Now()
			seqs[table] = max(seqs[table], seq)
			if warm {
				continue
			}
			for _, r := range recv {
				took = append(took, now.Sub(r))
			}
		}
	}
	counted = time.Since(start) - latencyWarm
	if len(took) == 0 {
		return errors.New("no row arrived")
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[min(int(q*float64(len(took))), len(took)-1)].Microseconds()) / 1e3
	}
	print(figure{Name: "frame_to_queryable_rate", Value: float64(int(float64(len(took)) / counted.Seconds())), Unit: "events/s"})
	print(figure{Name: "frame_to_queryable_p50", Value: at(0.50), Unit: "ms"})
	print(figure{Name: "frame_to_queryable_p99", Value: at(0.99), Unit: "ms"})
	rss, err := resident(pid)
	if err != nil {
		return err
	}
	print(figure{Name: "up_sim_resident", Value: rss, Unit: "MiB"})
	return nil
}

func newRows(ctx context.Context, conn driver.Conn, table string, after uint64) (recv []time.Time, seq uint64, _ error) {
	rows, err := conn.Query(ctx, "SELECT recv_time, stream_seq FROM "+table+" WHERE stream_seq > "+strconv.FormatUint(after, 10)+" AND NOT backfill")
	if err != nil {
		return nil, 0, fmt.Errorf("ask for new rows of %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r time.Time
		var s uint64
		if err := rows.Scan(&r, &s); err != nil {
			return nil, 0, err
		}
		recv, seq = append(recv, r), max(seq, s)
	}
	return recv, seq, rows.Err()
}

// resident is the memory of a process and its children, MiB.
func resident(pid int) (float64, error) {
	kib := 0
	for _, p := range append(children(pid), pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", p, err)
		}
		for l := range strings.SplitSeq(string(text), "\n") {
			if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
				if err != nil {
					return 0, fmt.Errorf("read memory of process %d: %w", p, err)
				}
				kib += n
			}
		}
	}
	return float64(kib / 1024), nil
}

func children(pid int) []int {
	var out []int
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for f := range strings.FieldsSeq(string(text)) {
			if id, err := strconv.Atoi(f); err == nil {
				out = append(out, id)
			}
		}
	}
	return out
}
