package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/lander"
)

// benchRows is how many trades are audited.
const benchRows = 2_000_000

type benchWorld struct {
	b      *testing.B
	bus    *bus.Bus
	store  *store.Store
	engine int // its process
	pub    *bus.Publisher
	next   int
}

func newBenchWorld(b *testing.B) *benchWorld {
	b.Helper()
	_, conn := bustest.Start(b)
	st, srv := storetest.StartServer(b)
	w := &benchWorld{b: b, bus: conn, store: st, engine: srv.Pid(), pub: conn.NewPublisher(bus.PublisherConfig{})}
	b.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	return w
}

func (w *benchWorld) publish(ctx context.Context, n int) {
	w.b.Helper()
	for range n {
		ev := trade(w.next)
		ev.Symbol = fmt.Sprintf("S%02d", w.next%50)
		w.next++
		if err := w.pub.Publish(ctx, ev); err != nil {
			w.b.Fatal(err)
		}
	}
	if err := w.pub.Flush(ctx); err != nil {
		w.b.Fatal(err)
	}
}

func (w *benchWorld) lander(ctx context.Context) (*lander.Lander, func()) {
	w.b.Helper()
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: w.bus, Store: w.store, Logger: chembedtest.Logger(w.b)})
	if err != nil {
		w.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-done; err != nil {
			w.b.Error(err)
		}
	}
}

// cpu is what this process, without the engine, has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// engineCPU is what the engine's process has used, from Linux's /proc; 0 where there is none.
func (w *benchWorld) engineCPU() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.engine))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkAudit says what an audit costs: rows a second of both sides together, of the engine's side alone and of ours, and the memory.
func BenchmarkAudit(b *testing.B) {
	w := newBenchWorld(b)
	ctx := b.Context()
	w.publish(ctx, benchRows)
	l, stop := w.lander(ctx)
	if err := l.Drained(ctx); err != nil {
		b.Fatal(err)
	}
	stop()
	only := []market.Stream{market.Trades}
	for _, share := range []float64{1, 0.5} {
		b.Run(fmt.Sprintf("share=%v", share), func(b *testing.B) {
			var peak atomic.Uint64
			end := make(chan struct{})
			watched := make(chan struct{})
			runtime.GC()
			go func() {
				defer close(watched)
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak.Store(max(peak.Load(), m.HeapInuse))
					select {
					case <-end:
						return
					case <-tick.C:
					}
				}
			}()
			before, engine := cpu(), w.engineCPU()
			start := time.Now()
			for b.Loop() {
				res, err := audit.Run(ctx, audit.Deps{Bus: w.bus, Store: w.store}, audit.Order{Streams: only, Threads: 1, Share: share})
				if err != nil || !res.Clean() || res.Streams[market.Trades].Landed != benchRows {
					b.Fatalf("%+v, %v", res, err)
				}
			}
			took := time.Since(start)
			used, ran := cpu()-before, w.engineCPU()-engine
			close(end)
			<-watched
			n := float64(b.N) * benchRows
			b.ReportMetric(n/took.Seconds(), "rows/s")
			b.ReportMetric(float64(used.Nanoseconds())/n, "our-cpu-ns/row")
			b.ReportMetric(float64(ran.Nanoseconds())/n, "engine-cpu-ns/row")
			b.ReportMetric(float64(peak.Load())/(1<<20), "heap-MiB")
		})
	}
	b.Run("engine", func(b *testing.B) {
		start := time.Now()
		for b.Loop() {
			q := store.SumQuery{Table: "trades", First: 1, Last: 1 << 62, Step: 8192, Threads: 1}
			if err := w.store.GroupSums(ctx, q, func(store.GroupSum) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*benchRows/time.Since(start).Seconds(), "rows/s")
	})
}

// BenchmarkLandingBesideAudits says what a scheduled audit of everything costs the lander: the same rows are landed without and with one that runs all the time.
func BenchmarkLandingBesideAudits(b *testing.B) {
	const rows = 1_000_000
	for _, beside := range []bool{false, true, false, true} {
		b.Run(fmt.Sprintf("audits=%v", beside), func(b *testing.B) {
			w := newBenchWorld(b)
			ctx := b.Context()
			var took, used time.Duration
			audits := 0
			var start time.Time
			for b.Loop() {
				l, stop := w.lander(ctx)
				w.publish(ctx, rows/10)
				actx, end := context.WithCancel(ctx)
				done := make(chan int, 1)
				go func() {
					n := 0
					for beside && actx.Err() == nil {
						if _, err := audit.Run(actx, audit.Deps{Bus: w.bus, Store: w.store}, audit.Order{Threads: 1, Share: 0.5}); err == nil {
							n++
						}
					}
					done <- n
				}()
				start, used = time.Now(), used-cpu()-w.engineCPU()
				w.publish(ctx, rows)
				if err := l.Drained(ctx); err != nil {
					b.Fatal(err)
				}
				took, used = took+time.Since(start), used+cpu()+w.engineCPU()
				end()
				audits += <-done
				stop()
			}
			b.ReportMetric(float64(b.N)*rows/took.Seconds(), "rows/s")
			b.ReportMetric(float64(used.Nanoseconds())/(float64(b.N)*rows), "cpu-ns/row")
			b.ReportMetric(float64(audits), "audits")
		})
	}
}
