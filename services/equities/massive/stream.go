package massive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Upstream is Massive's stream with its history.
type Upstream struct {
	cfg Config
	dec decoder

	fetching sync.Mutex

	mu    sync.Mutex
	began time.Time // when the stream was ready for the first time
}

// New makes the upstream of a valid configuration.
func New(cfg Config) *Upstream { return &Upstream{cfg: cfg, dec: newDecoder(cfg.QuoteSizeUnit)} }

// History implements engine.Upstream.
func (u *Upstream) History() engine.History {
	h := engine.History{Kinds: []engine.Kind{engine.DailyBars}, Trails: u.cfg.HistoryTrails, Delay: u.cfg.Delay, CallEvery: u.cfg.CallEvery}
	for _, x := range []struct {
		on      bool
		kind    engine.Kind
		without string
	}{
		{u.cfg.MinuteBars, engine.MinuteBars, ""}, {u.cfg.Trades, engine.Trades, ""}, {u.cfg.Quotes, engine.Quotes, ""},
		{u.cfg.SecondBars, "", "1s bars"}, {u.cfg.Halts, "", "lulds"}, {u.cfg.Imbalances, "", "imbalances"},
	} {
		switch {
		case x.on && x.kind != "":
			h.Kinds = append(h.Kinds, x.kind)
		case x.on:
			h.Without = append(h.Without, x.without)
		}
	}
	return h
}

// login is where a stream stands in the handshake.
type login uint8

const (
	waitConnected login = iota
	waitAuthenticated
	waitSubscribed
	streaming
)

var loginNames = [...]string{"connected", "auth_success", "the acknowledgement of every pair", "data"}

const (
	// fromStream names the stream in dead letters.
	fromStream = "stream"
	// acknowledgedWithin is how long the acknowledgements of a subscription are waited for: of an unknown topic none comes.
	acknowledgedWithin = 10 * time.Second
	// heldFrames bounds what is held back while acknowledgements are outstanding.
	heldFrames = 4096
)

// stream is the state of one connection, used by its goroutine alone but for what mu guards.
type stream struct {
	u     *Upstream
	e     *engine.Engine
	conn  *feed.Conn
	fs    *feed.Session
	login login
	held  []held // data that came before the last acknowledgement

	beside sync.WaitGroup

	mu      sync.Mutex
	symbols []string        // asked for
	missing map[string]bool // pairs that were asked for and not acknowledged
}

// held is an event that waits for the connection to be ready.
type held struct {
	m    message
	recv time.Time
}

// Stream implements engine.Upstream.
func (u *Upstream) Stream(ctx context.Context, fs *feed.Session, e *engine.Engine) error {
	conn, err := e.Feed().Dial(ctx, feed.WebsocketConfig{URL: u.cfg.StreamURL})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := &stream{u: u, e: e, conn: conn, fs: fs, missing: map[string]bool{}}
	read := st.read(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer func() { // what runs beside ends with the connection
		cancel()
		conn.Close()
		for range read {
		}
		st.beside.Wait()
	}()
	var overdue <-chan time.Time
	for {
		select {
		case <-overdue:
			overdue = nil
			if err := st.unacknowledged(ctx); err != nil {
				return err
			}
		case r := <-read:
			if r.err != nil {
				return readFailed(ctx, e, r.err)
			}
			before := st.login
			if err := st.frame(ctx, r.frame); err != nil {
				return err
			}
			if before != waitSubscribed && st.login == waitSubscribed {
				overdue = time.After(acknowledgedWithin)
			}
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

func (st *stream) frame(ctx context.Context, frame feed.Frame) error {
	f := st.e.Feed()
	if frame.Binary {
		return f.Reject(ctx, fromStream, feed.ReasonProtocol, errors.New("a binary frame"), frame.Data)
	}
	messages, err := st.u.dec.frame(frame.Data)
	if err != nil {
		return f.Reject(ctx, fromStream, feed.ReasonOf(err, feed.ReasonMalformed), err, frame.Data)
	}
	understood := false
	for _, m := range messages {
		switch {
		case m.err != nil:
			err = f.Reject(ctx, fromStream, feed.ReasonOf(m.err, feed.ReasonMalformed), m.err, m.raw)
		case m.status != nil:
			understood = true
			err = st.status(ctx, m)
		case m.ignored != "":
			understood = true
			f.Ignore(m.ignored)
		case st.login == streaming:
			understood = true
			err = st.live(ctx, held{m, frame.Recv})
		case st.login == waitSubscribed && len(st.held) < heldFrames:
			understood = true
			st.held = append(st.held, held{m, frame.Recv})
		case st.login == waitSubscribed:
			err = fmt.Errorf("subscribe: %d events and still not %s", heldFrames, loginNames[st.login])
		default:
			err = f.Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("data while waiting for %s", loginNames[st.login]), m.raw)
		}
		if err != nil {
			return err
		}
	}
	if understood { // garbage is no sign of life
		st.fs.Alive(frame.Recv)
	}
	return nil
}

func (st *stream) live(ctx context.Context, h held) error {
	h.m.event.GetMeta().RecvTime = h.recv
	_, err := st.e.Live(ctx, h.m.event, fromStream, h.m.raw)
	return err
}

const (
	planText = "doesn't include websocket access"
	ackText  = "subscribed to: "
)

func (st *stream) status(ctx context.Context, m message) error {
	s := m.status
	said := fmt.Errorf("the venue says %s: %.200q", s.status, s.message)
	switch {
	case s.status == "connected" && st.login == waitConnected:
		st.login = waitAuthenticated
		return st.send("auth", st.u.cfg.Key.Reveal())
	case s.status == "auth_success" && st.login == waitAuthenticated:
		st.login = waitSubscribed
		return st.subscribe(st.e.Symbols())
	case s.status == "success" && st.login >= waitSubscribed && strings.HasPrefix(s.message, ackText):
		return st.acknowledged(ctx, strings.TrimPrefix(s.message, ackText))
	case s.status == "success":
		return st.unsubscribed(ctx)
	case s.status == "auth_failed" && strings.Contains(s.message, planText):
		return feed.Refused(fmt.Errorf("%w: choose another stream_url, or a plan with websockets", said))
	case s.status == "auth_failed":
		return feed.Refused(fmt.Errorf("%w: check the key", said))
	case s.status == "max_connections":
		return feed.RetryAfter(fmt.Errorf("%w: another connection of this account is open, on any of its hosts, or an old one is still counted", said), max(st.u.cfg.SlowRetry, time.Second))
	case s.status == "error" && strings.Contains(strings.ToLower(s.message), "not authorized"):
		return feed.Refused(fmt.Errorf("%w: the plan does not have all of trades, quotes, minute_bars, second_bars, halts, imbalances; switch off what it lacks", said))
	case s.status == "error", s.status == "auth_timeout":
		return said
	}
	return st.e.Feed().Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("%w while waiting for %s", said, loginNames[st.login]), m.raw)
}

func (st *stream) send(action, params string) error {
	data, err := json.Marshal(map[string]string{"action": action, "params": params})
	if err != nil {
		return errors.New("encode command to the stream") // never with the command: it has the key
	}
	return st.conn.Write(data, false)
}

// pairs of topics and symbols.
func (u *Upstream) pairs(symbols []string) (out []string) {
	for _, symbol := range symbols {
		for _, topic := range u.cfg.topics() {
			out = append(out, topic+"."+symbol)
		}
	}
	return out
}

func (st *stream) subscribe(symbols []string) error {
	pairs := st.u.pairs(symbols)
	st.mu.Lock()
	st.symbols = append(st.symbols, symbols...)
	for _, p := range pairs {
		st.missing[p] = true
	}
	st.mu.Unlock()
	return st.send("subscribe", strings.Join(pairs, ","))
}

// change tells the open connection of added and removed symbols.
func (st *stream) change(add, drop []string) error {
	if len(drop) > 0 {
		gone := st.u.pairs(drop)
		st.mu.Lock()
		st.symbols = slices.DeleteFunc(st.symbols, func(s string) bool { return slices.Contains(drop, s) })
		for _, p := range gone {
			delete(st.missing, p)
		}
		st.mu.Unlock()
		if err := st.send("unsubscribe", strings.Join(gone, ",")); err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	return st.subscribe(add)
}

// acknowledged counts the acknowledgement of a pair; with the last the connection is ready, or a change of symbols is done.
func (st *stream) acknowledged(ctx context.Context, pair string) error {
	st.mu.Lock()
	was := len(st.missing)
	delete(st.missing, pair)
	done := was > 0 && len(st.missing) == 0
	served := slices.Clone(st.symbols)
	st.mu.Unlock()
	switch {
	case !done:
		return nil
	case st.login == streaming:
		return st.e.Acknowledged(ctx, served, "")
	}
	return st.ready(ctx, served, "")
}

// unsubscribed settles what an unsubscription leaves: the pair whose acknowledgement was waited for may have been the one that was dropped.
func (st *stream) unsubscribed(ctx context.Context) error {
	st.mu.Lock()
	done := len(st.missing) == 0
	served := slices.Clone(st.symbols)
	st.mu.Unlock()
	if !done || st.login != streaming {
		return nil
	}
	return st.e.Acknowledged(ctx, served, "")
}

// unacknowledged goes on without the symbols of which a pair was not acknowledged in time.
func (st *stream) unacknowledged(ctx context.Context) error {
	if st.login == streaming {
		return nil
	}
	st.mu.Lock()
	var served, missing []string
	for _, symbol := range st.symbols {
		if !slices.ContainsFunc(st.u.pairs([]string{symbol}), func(p string) bool { return st.missing[p] }) {
			served = append(served, symbol)
		}
	}
	for p := range st.missing {
		missing = append(missing, p)
	}
	clear(st.missing)
	st.mu.Unlock()
	slices.Sort(missing)
	why := "the venue did not acknowledge " + strings.Join(missing[:min(len(missing), 8)], ", ")
	if len(served) == 0 {
		return fmt.Errorf("subscribe: %s; switch off what the plan does not have", why)
	}
	return st.ready(ctx, served, why)
}

// ready publishes what came while the acknowledgements did.
func (st *stream) ready(ctx context.Context, served []string, why string) error {
	if err := st.e.Ready(ctx, st.fs, served, why); err != nil {
		return err
	}
	st.login = streaming
	st.e.OnChange(st.change)
	st.beside.Go(func() { st.u.reread(ctx, st.e) })
	for _, h := range st.held {
		if err := st.live(ctx, h); err != nil {
			return err
		}
	}
	st.held = nil
	return st.catchUp()
}

// catchUp tells the connection of the symbols that were changed while it was made.
func (st *stream) catchUp() error {
	now := st.e.Symbols()
	st.mu.Lock()
	before := slices.Clone(st.symbols)
	st.mu.Unlock()
	without := func(list, other []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
	}
	add, drop := without(now, before), without(before, now)
	if len(add)+len(drop) == 0 {
		return nil
	}
	return st.change(add, drop)
}
