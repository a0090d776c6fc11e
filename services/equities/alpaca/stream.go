package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Upstream is one Alpaca stream with its history.
type Upstream struct {
	cfg   Config
	fates *fates
}

// New makes the upstream of a valid configuration.
func New(cfg Config) *Upstream { return &Upstream{cfg: cfg, fates: newFates()} }

// History implements engine.Upstream.
func (u *Upstream) History() engine.History {
	h := engine.History{Kinds: []engine.Kind{engine.DailyBars, engine.MinuteBars, engine.Trades}, Trails: u.cfg.HistoryTrails}
	if u.cfg.Quotes {
		h.Kinds = append(h.Kinds, engine.Quotes)
	}
	if u.cfg.Halts {
		h.Without = append(h.Without, "statuses", "lulds")
	}
	return h
}

// Restored remembers the corrections that were published before the start.
func (u *Upstream) Restored(ev market.Event) {
	if t, ok := ev.(*market.Trade); ok && t.Action == market.TradeCorrection {
		u.fates.mu.Lock()
		u.fates.addCorrection(t)
		u.fates.mu.Unlock()
	}
}

// login is where a stream stands in the handshake.
type login uint8

const (
	waitConnected login = iota
	waitAuthenticated
	waitSubscribed
	streaming
)

var loginNames = [...]string{"connected", "authenticated", "subscription", "data"}

// from names the stream in dead letters.
const fromStream = "stream"

// Stream implements engine.Upstream.
func (u *Upstream) Stream(ctx context.Context, fs *feed.Session, e *engine.Engine) error {
	binary := u.cfg.Encoding == "msgpack"
	header := http.Header{}
	if binary {
		header.Set("Content-Type", "application/msgpack")
	}
	conn, err := feed.Dial(ctx, feed.WebsocketConfig{URL: u.cfg.StreamURL, Header: header, Compress: u.cfg.Compress})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := &stream{u: u, e: e, conn: conn, fs: fs, binary: binary, dec: newDecoder(e.Symbols())}
	for {
		frame, err := conn.Read(ctx)
		if err != nil {
			return readFailed(ctx, e, err)
		}
		if err := st.frame(ctx, frame); err != nil {
			return err
		}
	}
}

// endOfRecording is the reason of the close frame with which a recording ends.
const endOfRecording = "end of recording"

func readFailed(ctx context.Context, e *engine.Engine, err error) error {
	if mal, ok := errors.AsType[*feed.Malformed](err); ok {
		if rerr := e.Feed().Reject(ctx, fromStream, mal.Reason, err, nil); rerr != nil {
			return rerr
		}
	}
	if ce, ok := errors.AsType[*feed.CloseError](err); ok && e.StopAtEnd() && ce.Code == 1000 && ce.Text == endOfRecording {
		return feed.ErrEndOfInput
	}
	return err
}

// stream is the state of one connection.
type stream struct {
	u      *Upstream
	e      *engine.Engine
	conn   *feed.Conn
	fs     *feed.Session
	binary bool
	dec    *decoder
	login  login
}

func (st *stream) frame(ctx context.Context, frame feed.Frame) error {
	f := st.e.Feed()
	if frame.Binary != st.binary {
		return f.Reject(ctx, fromStream, feed.ReasonProtocol, errors.New("a frame of the other encoding than asked for"), frame.Data)
	}
	understood := false
	err := st.dec.frame(frame.Data, frame.Binary, func(m message) error {
		switch {
		case m.err != nil:
			return f.Reject(ctx, fromStream, feed.ReasonOf(m.err, feed.ReasonMalformed), m.err, m.raw)
		case m.control != nil:
			understood = true
			return st.control(ctx, m)
		case m.ignored != "":
			understood = true
			f.Ignore(m.ignored)
			return nil
		case st.login != streaming:
			return f.Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("data while waiting for %q", loginNames[st.login]), m.raw)
		}
		understood = true
		m.event.GetMeta().RecvTime = frame.Recv
		return st.live(ctx, m)
	})
	if mal, ok := errors.AsType[*feed.Malformed](err); ok && !feed.IsRefused(err) {
		err = f.Reject(ctx, fromStream, mal.Reason, mal, frame.Data)
	}
	if understood && err == nil {
		// Garbage is no sign of life.
		st.fs.Alive(frame.Recv)
	}
	return err
}

// live publishes an event of the stream.
func (st *stream) live(ctx context.Context, m message) error {
	if t, ok := m.event.(*market.Trade); ok && t.Action == market.TradeCorrection {
		return st.correct(ctx, t, m.raw)
	}
	_, err := st.e.Live(ctx, m.event, fromStream, m.raw)
	return err
}

// correct publishes a correction, unless history told it already, as a new print and the cancel of the old one.
func (st *stream) correct(ctx context.Context, c *market.Trade, raw []byte) error {
	fates := st.u.fates
	fates.mu.Lock()
	defer fates.mu.Unlock()
	print := *c
	print.Source, print.Action, print.OriginalID = st.e.Feed().Source(), market.TradeNew, ""
	if st.e.Feed().Has(&print) {
		return nil
	}
	fresh, err := st.e.Live(ctx, c, fromStream, raw)
	if fresh {
		fates.addCorrection(c)
	}
	return err
}

func (st *stream) control(ctx context.Context, m message) error {
	c := m.control
	unexpected := func() error {
		return st.e.Feed().Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("%s %q while waiting for %q", c.typ, c.msg, loginNames[st.login]), m.raw)
	}
	switch {
	case c.typ == "error":
		return st.failed(c)
	case c.typ == "success" && c.msg == "connected" && st.login == waitConnected:
		st.login = waitAuthenticated
		return st.send(map[string]any{"action": "auth", "key": st.u.cfg.Key.Reveal(), "secret": st.u.cfg.Secret.Reveal()})
	case c.typ == "success" && c.msg == "authenticated" && st.login == waitAuthenticated:
		st.login = waitSubscribed
		return st.subscribe()
	case c.typ == "subscription" && st.login == waitSubscribed:
		return st.subscribed(ctx, c)
	case c.typ == "subscription" && st.login == streaming:
		return st.complete(c) // the venue changed what it sends us
	}
	return unexpected()
}

func (st *stream) send(command map[string]any) error {
	var data []byte
	var err error
	if st.binary {
		data, err = msgpack.Marshal(command)
	} else {
		data, err = json.Marshal(command)
	}
	if err != nil {
		return fmt.Errorf("encode command to the stream: %w", err) // never with the command: it has the secret
	}
	return st.conn.Write(data, st.binary)
}

// wanted are the channels that the configuration asks for.
func (u *Upstream) wanted() []string {
	list := []string{"trades", "bars", "updatedBars", "dailyBars"}
	if u.cfg.Quotes {
		list = append(list, "quotes")
	}
	if u.cfg.Halts {
		list = append(list, "statuses", "lulds")
	}
	return list
}

func (st *stream) subscribe() error {
	command := map[string]any{"action": "subscribe"}
	for _, ch := range st.u.wanted() {
		command[ch] = st.e.Symbols()
	}
	return st.send(command)
}

// complete checks the answer to the subscription, which lists the whole state and not the change.
func (st *stream) complete(c *control) error {
	for _, ch := range st.u.wanted() {
		got := c.subscribed[ch]
		for _, symbol := range st.e.Symbols() {
			if !slices.Contains(got, symbol) && !slices.Contains(got, "*") {
				return fmt.Errorf("subscribe: the venue left out %s of %s", ch, symbol)
			}
		}
	}
	return nil
}

func (st *stream) subscribed(ctx context.Context, c *control) error {
	if err := st.complete(c); err != nil {
		return err
	}
	st.login = streaming
	return st.e.Ready(ctx, st.fs, st.e.Symbols(), "")
}

// failed says what an error message of the stream means for us.
func (st *stream) failed(c *control) error {
	err := fmt.Errorf("stream error %d %q", c.code, c.msg)
	switch c.code {
	case 403: // already authenticated
		return nil
	case 402:
		return feed.Refused(fmt.Errorf("%w: check equities.alpaca.key and equities.alpaca.secret", err))
	case 405:
		return feed.Refused(fmt.Errorf("%w: equities.symbols has %d symbols, the free plan streams 30; take some out or change the plan",
			err, len(st.e.Symbols())))
	case 409, 411:
		return feed.Refused(fmt.Errorf("%w: the plan does not have %s; change equities.alpaca.stream_url (the free feed is /v2/iex) or the plan",
			err, strings.Join(st.u.wanted(), ", ")))
	case 400, 408, 410:
		return feed.Refused(fmt.Errorf("%w: the venue does not take this subscription on %s", err, st.u.cfg.StreamURL))
	case 406:
		return feed.RetryAfter(fmt.Errorf("%w: another connection with this key is open, or an old one is still counted", err), st.u.cfg.SlowRetry)
	}
	return err // 401, 404, 407, 500 and what is not listed may pass with a new connection
}
