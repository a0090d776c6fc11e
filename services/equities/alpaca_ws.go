package equities

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
)

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

// session is one connection's life.
func (s *service) session(ctx context.Context, fs *feed.Session) error {
	binary := s.cfg.Alpaca.Encoding == "msgpack"
	header := http.Header{}
	if binary {
		header.Set("Content-Type", "application/msgpack")
	}
	conn, err := feed.Dial(ctx, feed.WebsocketConfig{URL: s.cfg.Alpaca.StreamURL, Header: header, Compress: s.cfg.Alpaca.Compress})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := &stream{s: s, conn: conn, fs: fs, binary: binary, dec: newDecoder(s.cfg.Symbols)}
	for {
		frame, err := conn.Read(ctx)
		if err != nil {
			return s.readFailed(ctx, err)
		}
		if err := st.frame(ctx, frame); err != nil {
			return err
		}
	}
}

// endOfRecording is the reason of the close frame with which a recording ends.
const endOfRecording = "end of recording"

func (s *service) readFailed(ctx context.Context, err error) error {
	if mal, ok := errors.AsType[*feed.Malformed](err); ok {
		if rerr := s.f.Reject(ctx, fromStream, mal.Reason, err, nil); rerr != nil {
			return rerr
		}
	}
	if ce, ok := errors.AsType[*feed.CloseError](err); ok && s.cfg.StopAtEnd && ce.Code == 1000 && ce.Text == endOfRecording {
		return feed.ErrEndOfInput
	}
	return err
}

// stream is the state of one connection.
type stream struct {
	s      *service
	conn   *feed.Conn
	fs     *feed.Session
	binary bool
	dec    *decoder
	login  login
}

func (st *stream) frame(ctx context.Context, frame feed.Frame) error {
	f := st.s.f
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
		return st.s.live(ctx, m)
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
func (s *service) live(ctx context.Context, m message) error {
	switch ev := m.event.(type) {
	case *market.Bar:
		if ev.Validate() == nil && !s.revs.next(ev, ev.RecvTime) {
			return nil
		}
	case *market.Trade:
		if ev.Action == market.TradeCorrection {
			return s.correct(ctx, ev, m.raw)
		}
	}
	_, err := s.f.Emit(ctx, m.event, fromStream, m.raw)
	return err
}

// correct publishes a correction, unless history told it already, as a new print and the cancel of the old one.
func (s *service) correct(ctx context.Context, c *market.Trade, raw []byte) error {
	s.fates.mu.Lock()
	defer s.fates.mu.Unlock()
	print := *c
	print.Source, print.Action, print.OriginalID = s.f.Source(), market.TradeNew, ""
	if s.f.Has(&print) {
		return nil
	}
	fresh, err := s.f.Emit(ctx, c, fromStream, raw)
	if fresh {
		s.fates.addCorrection(c)
	}
	return err
}

func (st *stream) control(ctx context.Context, m message) error {
	c := m.control
	unexpected := func() error {
		return st.s.f.Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("%s %q while waiting for %q", c.typ, c.msg, loginNames[st.login]), m.raw)
	}
	switch {
	case c.typ == "error":
		return st.failed(c)
	case c.typ == "success" && c.msg == "connected" && st.login == waitConnected:
		st.login = waitAuthenticated
		return st.send(map[string]any{"action": "auth", "key": st.s.cfg.Alpaca.Key.Reveal(), "secret": st.s.cfg.Alpaca.Secret.Reveal()})
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
func (s *service) wanted() []string {
	list := []string{"trades", "bars", "updatedBars", "dailyBars"}
	if s.cfg.Alpaca.Quotes {
		list = append(list, "quotes")
	}
	if s.cfg.Alpaca.Halts {
		list = append(list, "statuses", "lulds")
	}
	return list
}

func (st *stream) subscribe() error {
	command := map[string]any{"action": "subscribe"}
	for _, ch := range st.s.wanted() {
		command[ch] = st.s.cfg.Symbols
	}
	return st.send(command)
}

// complete checks the answer to the subscription, which lists the whole state and not the change.
func (st *stream) complete(c *control) error {
	for _, ch := range st.s.wanted() {
		got := c.subscribed[ch]
		for _, symbol := range st.s.cfg.Symbols {
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
	if err := st.fs.Ready(ctx); err != nil {
		return err
	}
	// The lines of the ledger must be stored before anything newer than their holes is: a crash would hide the hole otherwise.
	if err := st.s.f.Flush(ctx); err != nil {
		return fmt.Errorf("store the ledger: %w", err)
	}
	st.s.jobs.connected(st.s.f.OpenGaps(), st.s.f.Now(), st.s.cfg.Alpaca.HistoryTrails)
	return nil
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
			err, len(st.s.cfg.Symbols)))
	case 409, 411:
		return feed.Refused(fmt.Errorf("%w: the plan does not have %s; change equities.alpaca.stream_url (the free feed is /v2/iex) or the plan",
			err, strings.Join(st.s.wanted(), ", ")))
	case 400, 408, 410:
		return feed.Refused(fmt.Errorf("%w: the venue does not take this subscription on %s", err, st.s.cfg.Alpaca.StreamURL))
	case 406:
		return feed.RetryAfter(fmt.Errorf("%w: another connection with this key is open, or an old one is still counted", err), st.s.cfg.Alpaca.SlowRetry)
	}
	return err // 401, 404, 407, 500 and what is not listed may pass with a new connection
}
