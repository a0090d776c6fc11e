//go:build linux

package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// delays of many events, in seconds.
type delays struct {
	Events int     `json:"events"`
	P50    float64 `json:"p50_s"`
	P99    float64 `json:"p99_s"`
	Max    float64 `json:"max_s"`
	// Worst names the event with Max.
	Worst string `json:"worst,omitempty"`
}

// seenAt is an event that has arrived somewhere.
type seenAt struct {
	recv, seen time.Time
	what       string
}

func (s seenAt) delay() time.Duration { return s.seen.Sub(s.recv) }

func sum(all []seenAt) delays {
	if len(all) == 0 {
		return delays{}
	}
	slices.SortFunc(all, func(a, b seenAt) int { return int(a.delay() - b.delay()) })
	at := func(p float64) float64 { return all[int(p*float64(len(all)-1))].delay().Seconds() }
	worst := all[len(all)-1]
	return delays{len(all), at(0.5), at(0.99), at(1), worst.what + " received at " + worst.recv.Format("15:04:05.000")}
}

// watchers look how long everything takes, from outside.
type watchers struct {
	r      *roll
	began  time.Time
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	queryable []seenAt
	event     []seenAt // of prints and quotes, with the venue's time for recv
	live      []seenAt
	errs      []error

	clients    []*follower
	reconnects atomic.Int64
}

// follower is one client of the live feed and the places that it was told, by channel.
type follower struct {
	places map[live.Channel][]market.Place
}

// watch begins to look.
func (r *roll) watch(ctx context.Context) (*watchers, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watchers{r: r, began: time.Now(), cancel: cancel}
	if err := w.tables(ctx); err != nil {
		cancel()
		return nil, err
	}
	for i := range r.cfg.Clients {
		f := &follower{places: map[live.Channel][]market.Place{}}
		w.clients = append(w.clients, f)
		if err := w.follow(ctx, i, f); err != nil {
			cancel()
			w.wg.Wait()
			return nil, err
		}
	}
	return w, nil
}

func (w *watchers) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *watchers) trouble(err error) {
	w.mu.Lock()
	w.errs = append(w.errs, err)
	w.mu.Unlock()
}

// lookEvery is how often the tables are looked at: the delays are known to that and a query's time.
const lookEvery = 250 * time.Millisecond

type rowPlace struct {
	table    string
	seq, idx uint64
}

// tables looks for new rows in all tables at once, again and again.
func (w *watchers) tables(ctx context.Context) error {
	known := map[rowPlace]bool{}
	base := map[market.Stream]uint64{}
	if err := w.look(ctx, base, known, nil); err != nil { // what is there already is of no interest
		return err
	}
	w.wg.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := w.look(ctx, base, known, func(p rowPlace, recv, event time.Time, backfill bool, source string) {
				now := time.Now()
				what := fmt.Sprintf("%s %d:%d of %s", p.table, p.seq, p.idx, source)
				w.mu.Lock()
				defer w.mu.Unlock()
				if recv.After(w.began) {
					w.queryable = append(w.queryable, seenAt{recv, now, what})
				}
				if (p.table == "trades" || p.table == "quotes") && event.After(w.began) {
					if backfill {
						what += ", from history"
					}
					w.event = append(w.event, seenAt{event, now, what})
				}
			})
			if err != nil && ctx.Err() == nil {
				w.trouble(fmt.Errorf("look at the tables: %w", err))
				return
			}
		}
	})
	return nil
}

// look asks for the rows behind base, hands over those that are not known, and moves base to what is landed whole. A range lands table by table and partition by
// partition, so what lies behind the landing record's first is asked for again.
func (w *watchers) look(ctx context.Context, base map[market.Stream]uint64, known map[rowPlace]bool, fresh func(p rowPlace, recv, event time.Time, backfill bool, source string)) error {
	landed := map[market.Stream]uint64{}
	var parts []string
	of := map[string]market.Stream{}
	for _, st := range market.Streams() {
		if st == market.Dead {
			continue
		}
		l, ok, err := w.r.bus.Landing(ctx, st)
		if err != nil {
			return err
		}
		if ok {
			landed[st] = l.First - 1
		}
		for _, t := range store.Tables(st) {
			of[t] = st
			event := "toUnixTimestamp64Nano(event_time)"
			if st == market.Trades { // a print's fate has the print's own time
				event = "if(action = 'trade', " + event + ", 0)"
			}
			parts = append(parts, fmt.Sprintf("SELECT '%s', stream_seq, idx, toUnixTimestamp64Nano(recv_time), %s, backfill, source FROM %s WHERE stream_seq > %d", t, event, t, base[st]))
		}
	}
	err := w.r.rows(ctx, strings.Join(parts, " UNION ALL ")+" FORMAT TSV", database, func(line string) error {
		f := strings.Split(line, "\t")
		if len(f) != 7 {
			return fmt.Errorf("a row of %d columns", len(f))
		}
		var n [4]int64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(f[i+1], 10, 64); err != nil {
				return err
			}
		}
		p := rowPlace{f[0], uint64(n[0]), uint64(n[1])}
		if !known[p] {
			known[p] = true
			if fresh != nil {
				fresh(p, time.Unix(0, n[2]), time.Unix(0, n[3]), f[5] == "true", f[6])
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for st, through := range landed {
		base[st] = max(base[st], through)
	}
	for p := range known {
		if p.seq <= base[of[p.table]] {
			delete(known, p)
		}
	}
	return nil
}

// followed are the channels of the clients.
var followed = []live.Channel{live.Trades, live.Quotes, live.Bars, live.Network, live.Hashprice, live.Signals}

// follow is one client: any gateway, and the next one when that ends.
func (w *watchers) follow(ctx context.Context, i int, f *follower) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", w.r.gates[rand.IntN(len(w.r.gates))])
	}
	c, err := client.Dial(ctx, client.Config{
		URL: "ws://" + w.r.gates[0] + "/v1/ws", NetDial: dial, FirstWait: 50 * time.Millisecond, MaxWait: 500 * time.Millisecond,
		OnReconnect: func(client.Reconnect) { w.reconnects.Add(1) },
	})
	if err != nil {
		return fmt.Errorf("client %d: %w", i, err)
	}
	var mu sync.Mutex
	for _, ch := range followed {
		spec := client.Spec{Channel: ch, Symbols: []string{"*"}}
		if ch == live.Bars {
			spec.Interval = market.Interval1m
		}
		sub, err := c.Subscribe(ctx, spec)
		if err != nil {
			c.Close()
			return fmt.Errorf("client %d: %w", i, err)
		}
		w.wg.Go(func() {
			for msg, err := range sub.Messages(ctx) {
				if err != nil {
					if ctx.Err() == nil {
						w.trouble(fmt.Errorf("client %d, %s: %w", i, ch, err))
					}
					return
				}
				now, recv := time.Now(), msg.Event.GetMeta().RecvTime
				mu.Lock()
				f.places[ch] = append(f.places[ch], msg.Place)
				mu.Unlock()
				if recv.After(w.began) {
					w.mu.Lock()
					w.live = append(w.live, seenAt{recv, now, fmt.Sprintf("%s %d:%d of %s at client %d", ch, msg.Place.Seq, msg.Place.Idx, msg.Event.GetMeta().Source, i)})
					w.mu.Unlock()
				}
			}
		})
	}
	w.wg.Go(func() {
		<-ctx.Done()
		c.Close()
	})
	return nil
}
