package finnhub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Upstream is Finnhub's stream, with its candles where the plan has them.
type Upstream struct{ cfg Config }

// New makes the upstream of a valid configuration.
func New(cfg Config) *Upstream { return &Upstream{cfg} }

// History implements engine.Upstream.
func (u *Upstream) History() engine.History {
	h := engine.History{Without: []string{"trades"}}
	if u.cfg.History == "candles" {
		h.CallEvery, h.Trails = u.cfg.CallEvery, u.cfg.HistoryTrails
		h.Kinds = []engine.Kind{engine.MinuteBars}
	}
	return h
}

const (
	// fromStream names the stream in dead letters.
	fromStream = "stream"
	// acceptedAfter a subscription without an error, and without a sign of life either, we are taken for accepted: nothing is acknowledged.
	acceptedAfter = time.Second
	// quietFor is the silence in which an old connection is renewed.
	quietFor = 5 * time.Minute
)

// stream is the state of one connection, used by its goroutine alone but for what mu guards.
type stream struct {
	u     *Upstream
	e     *engine.Engine
	conn  *feed.Conn
	fs    *feed.Session
	ids   *ordinals
	ready bool
	since time.Time // of the connection
	alive time.Time // the last ping or print
	print time.Time // the last print

	mu      sync.Mutex
	served  []string
	changed chan struct{} // served changed
}

// Stream implements engine.Upstream.
func (u *Upstream) Stream(ctx context.Context, fs *feed.Session, e *engine.Engine) error {
	target, err := url.Parse(u.cfg.StreamURL)
	if err != nil {
		return feed.Refused(errors.New("the URL of the stream does not parse")) // never with the URL: it has the key
	}
	target.RawQuery = url.Values{"token": {u.cfg.Key.Reveal()}}.Encode()
	conn, err := e.Feed().Dial(ctx, feed.WebsocketConfig{URL: target.String()})
	if err != nil {
		return err
	}
	defer conn.Close()
	now := time.Now()
	st := &stream{u: u, e: e, conn: conn, fs: fs, ids: newOrdinals(), since: now, alive: now, print: now, changed: make(chan struct{}, 1)}
	read := st.read(ctx)
	defer func() { // the reader ends with the connection
		conn.Close()
		for range read {
		}
	}()
	if err := st.subscribe(e.Symbols()); err != nil {
		return st.lastWords(ctx, read, err)
	}
	accepted := time.NewTimer(acceptedAfter)
	defer accepted.Stop()
	check := time.NewTicker(max(min(u.cfg.MuteAfter/8, 10*time.Second), time.Millisecond))
	defer check.Stop()
	for {
		select {
		case <-accepted.C:
			err = st.accept(ctx)
		case <-st.changed:
			err = st.acknowledge(ctx)
		case now := <-check.C:
			err = st.check(now)
		case r := <-read:
			if r.err != nil {
				return readFailed(ctx, e, r.err)
			}
			err = st.frame(ctx, r.frame)
		}
		if err != nil {
			return err
		}
	}
}

// lastWords of a venue that took no more: it may have said why and closed before we wrote, and a refusal must not be taken for a broken pipe.
func (st *stream) lastWords(ctx context.Context, read <-chan readResult, werr error) error {
	patience := time.NewTimer(acceptedAfter)
	defer patience.Stop()
	for {
		select {
		case r := <-read:
			if r.err != nil {
				return werr
			}
			if err := st.frame(ctx, r.frame); err != nil {
				return err
			}
		case <-patience.C:
			return werr
		}
	}
}

type readResult struct {
	frame feed.Frame
	err   error
}

// read reads frames until the connection ends; then it closes the channel.
func (st *stream) read(ctx context.Context) <-chan readResult {
	out := make(chan readResult)
	go func() {
		defer close(out)
		for {
			frame, err := st.conn.Read(ctx)
			out <- readResult{frame, err}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func readFailed(ctx context.Context, e *engine.Engine, err error) error {
	if mal, ok := errors.AsType[*feed.Malformed](err); ok {
		if rerr := e.Feed().Reject(ctx, fromStream, mal.Reason, err, nil); rerr != nil {
			return rerr
		}
	}
	return err
}

// check ends a connection that is dead without saying so, or old.
func (st *stream) check(now time.Time) error {
	switch age := now.Sub(st.since); {
	case now.Sub(st.alive) > st.u.cfg.MuteAfter:
		return fmt.Errorf("the venue is mute: neither ping nor print for %s", now.Sub(st.alive).Round(time.Second))
	case age > st.u.cfg.ReconnectEvery:
		return fmt.Errorf("the connection is renewed after %s (reconnect_every)", age.Round(time.Second))
	case age > st.u.cfg.ReconnectEvery/2 && now.Sub(st.print) > quietFor:
		return fmt.Errorf("the connection is renewed in a quiet time, after %s", age.Round(time.Second))
	}
	return nil
}

func (st *stream) frame(ctx context.Context, frame feed.Frame) error {
	f := st.e.Feed()
	if frame.Binary {
		return f.Reject(ctx, fromStream, feed.ReasonProtocol, errors.New("a binary frame"), frame.Data)
	}
	m, err := decode(frame.Data)
	if err != nil {
		return f.Reject(ctx, fromStream, feed.ReasonOf(err, feed.ReasonMalformed), err, frame.Data)
	}
	if m.kind == "error" {
		return failed(m.text)
	}
	if err := st.accept(ctx); err != nil {
		return err
	}
	understood := m.kind == "ping"
	for _, p := range m.prints {
		if p.err != nil {
			if err := f.Reject(ctx, fromStream, feed.ReasonOf(p.err, feed.ReasonMalformed), p.err, p.raw); err != nil {
				return err
			}
			continue
		}
		understood = true
		st.print = time.Now()
		p.trade.RecvTime, p.trade.ID = frame.Recv, st.ids.id(p.trade)
		if _, err := st.e.Live(ctx, p.trade, fromStream, p.raw); err != nil {
			return err
		}
	}
	if understood { // garbage is no sign of life
		st.alive = time.Now()
		st.fs.Alive(frame.Recv)
	}
	return nil
}

// failed says what an error of the venue means for us.
func failed(text string) error {
	err := fmt.Errorf("the venue says %.200q", text)
	switch low := strings.ToLower(text); {
	case strings.Contains(low, "api key"):
		return feed.Refused(fmt.Errorf("%w: check the key", err))
	case strings.Contains(low, "too many symbols"):
		return feed.Refused(fmt.Errorf("%w: set symbol_limit to what the plan has", err))
	case strings.Contains(low, "limit"):
		return feed.RetryAfter(err, time.Minute)
	}
	return err
}

func (st *stream) send(kind, symbol string) error {
	data, err := json.Marshal(map[string]string{"type": kind, "symbol": symbol})
	if err != nil {
		return fmt.Errorf("encode command to the stream: %w", err)
	}
	return st.conn.Write(data, false)
}

// subscribe asks for symbols, as many as the plan takes.
func (st *stream) subscribe(symbols []string) error {
	for _, s := range symbols {
		st.mu.Lock()
		full := len(st.served) >= st.u.cfg.SymbolLimit
		if !full {
			st.served = append(st.served, s)
		}
		st.mu.Unlock()
		if full {
			return nil // the ledger says so
		}
		if err := st.send("subscribe", s); err != nil {
			return err
		}
	}
	return nil
}

// streamed is what is subscribed to, and why the rest is not.
func (st *stream) streamed() (served []string, why string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.served), fmt.Sprintf("the plan takes %d symbols (symbol_limit)", st.u.cfg.SymbolLimit)
}

// accept makes the connection ready, once.
func (st *stream) accept(ctx context.Context) error {
	if st.ready {
		return nil
	}
	st.ready = true
	served, why := st.streamed()
	if err := st.e.Ready(ctx, st.fs, served, why); err != nil {
		return err
	}
	st.e.OnChange(st.change)
	return st.change(nil, without(served, st.e.Symbols())) // they may have changed while the connection was made
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// change tells the open connection of added and removed symbols.
func (st *stream) change(_, drop []string) error {
	st.mu.Lock()
	before := slices.Clone(st.served)
	st.served = without(st.served, drop)
	st.mu.Unlock()
	for _, s := range drop {
		if slices.Contains(before, s) {
			if err := st.send("unsubscribe", s); err != nil {
				return err
			}
		}
	}
	// What was added, and what the limit kept out and has room now.
	st.mu.Lock()
	waiting := without(st.e.Symbols(), st.served)
	st.mu.Unlock()
	if err := st.subscribe(waiting); err != nil {
		return err
	}
	if served, _ := st.streamed(); !slices.Equal(served, before) {
		select {
		case st.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

func (st *stream) acknowledge(ctx context.Context) error {
	served, why := st.streamed()
	return st.e.Acknowledged(ctx, served, why)
}
