// Package child is what each server under measurement runs beside its listener: it publishes and tells its memory as the load generator orders on
// its standard input. All servers publish through it, so that they are driven alike.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Report answers an order. The first one tells the address; that of a publishing that was stopped, how much it was; the others the process.
type Report struct {
	Addr       string  `json:"addr,omitempty"`
	Published  uint64  `json:"published,omitempty"`
	CPUSeconds float64 `json:"cpu_s,omitempty"`
	RSS        int64   `json:"rss,omitempty"` // bytes
	Goroutines int     `json:"goroutines,omitempty"`
	Error      string  `json:"error,omitempty"`
}

// Publish publishes n messages with a receive stamp: to all subscribers of the common channel, or to those of the flood's. It returns how many these
// were: fewer than n only when ctx is done.
type Publish func(ctx context.Context, flood bool, stamp time.Time, n int) (int, error)

// Common is the channel that every client subscribes to.
const Common = "trades"

// Flood is the channel beside the common one: it is what a single client drowns in.
const Flood = "flood"

// Orders of the load generator, a line each.
const (
	OrderPace   = "pace"   // messages a second, evenly, until stop
	OrderAhead  = "ahead"  // until stop, be so many messages ahead of the slowest client
	OrderSingly = "singly" // the same, but published one by one, as pace does
	OrderSeen   = "seen"   // what the slowest client has
	OrderStop   = "stop"   // answered
	OrderFlood  = "flood"  // messages a second to the flood's channel beside all else, until the next such order; 0 ends it
	OrderMemory = "memory" // collect, give back, answer
	OrderLook   = "look"   // answer the memory as it is, and the processor time so far
)

// Main serves orders until the input ends or the process is told to end, then closes the server.
func Main(addr string, publish Publish, closeServer func() error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines := make(chan string)
	go func() { // reads until the process ends: a read of standard input cannot be interrupted
		defer stop()
		scan := bufio.NewScanner(os.Stdin)
		for scan.Scan() {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return errors.Join(serve(ctx, lines, os.Stdout, addr, publish), closeServer())
}

type server struct {
	publish Publish
	seen    atomic.Uint64
	more    chan struct{} // seen has grown
}

func serve(ctx context.Context, lines <-chan string, out io.Writer, addr string, publish Publish) error {
	s := &server{publish: publish, more: make(chan struct{}, 1)}
	enc := json.NewEncoder(out)
	if err := enc.Encode(Report{Addr: addr}); err != nil {
		return fmt.Errorf("tell the address: %w", err)
	}
	var common, flood run
	defer func() { common.end(); flood.end() }()
	for {
		var line string
		select {
		case <-ctx.Done():
			return nil
		case line = <-lines:
		}
		order, arg, _ := strings.Cut(line, " ")
		n := uint64(0)
		if arg != "" {
			var err error
			if n, err = strconv.ParseUint(arg, 10, 64); err != nil {
				return fmt.Errorf("read the order %q: %w", line, err)
			}
		}
		var answer *Report
		switch order {
		case OrderPace:
			common.start(ctx, func(ctx context.Context, count *uint64) error { return s.pace(ctx, false, n, count) })
		case OrderAhead, OrderSingly:
			most := n
			if order == OrderSingly {
				most = 1
			}
			s.seen.Store(0)
			common.start(ctx, func(ctx context.Context, count *uint64) error { return s.ahead(ctx, n, most, count) })
		case OrderSeen:
			s.seen.Store(n)
			select {
			case s.more <- struct{}{}:
			default:
			}
		case OrderStop:
			r := common.end()
			answer = &r
		case OrderFlood:
			flood.end()
			if n > 0 {
				flood.start(ctx, func(ctx context.Context, count *uint64) error { return s.pace(ctx, true, n, count) })
			}
		case OrderMemory:
			runtime.GC()
			runtime.GC() // what finalizers and pools held
			debug.FreeOSMemory()
			r := look()
			answer = &r
		case OrderLook:
			r := look()
			answer = &r
		default:
			return fmt.Errorf("read the order %q: unknown", line)
		}
		if answer != nil {
			if err := enc.Encode(answer); err != nil {
				return fmt.Errorf("answer the order %q: %w", line, err)
			}
		}
	}
}

// run is a publishing under way.
type run struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	count  uint64
	err    error
}

func (r *run) start(ctx context.Context, publish func(context.Context, *uint64) error) {
	r.end()
	ctx, r.cancel = context.WithCancel(ctx)
	r.count, r.err = 0, nil
	r.done.Go(func() { r.err = publish(ctx, &r.count) })
}

func (r *run) end() Report {
	if r.cancel == nil {
		return Report{Error: "nothing is published"}
	}
	r.cancel()
	r.done.Wait()
	r.cancel = nil
	rep := Report{Published: r.count}
	if r.err != nil {
		rep.Error = r.err.Error()
	}
	return rep
}

// pace publishes perSecond messages a second. The stamp is the moment at which a message is due: a server that keeps its publisher waiting gives late
// messages, not fewer.
func (s *server) pace(ctx context.Context, flood bool, perSecond uint64, count *uint64) error {
	start := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due := start.Add(time.Duration(float64(*count) / float64(perSecond) * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		sent, err := s.publish(ctx, flood, due, 1)
		*count += uint64(sent)
		if err != nil {
			return fmt.Errorf("publish a message: %w", err)
		}
	}
}

// ahead keeps window messages ahead of the slowest client, so that the server always has work and no queue overflows. It publishes at most so many at once.
func (s *server) ahead(ctx context.Context, window, most uint64, count *uint64) error {
	for {
		for n := s.seen.Load() + window - *count; n > 0 && ctx.Err() == nil; {
			sent, err := s.publish(ctx, false, time.Now(), int(min(n, most)))
			*count += uint64(sent)
			n -= uint64(sent)
			if err != nil {
				return fmt.Errorf("publish ahead: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.more:
		}
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func look() Report {
	r := Report{Goroutines: runtime.NumGoroutine(), CPUSeconds: cpuSeconds()}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		r.Error = err.Error()
		return r
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				r.Error = err.Error()
			}
			r.RSS = n << 10
		}
	}
	return r
}
