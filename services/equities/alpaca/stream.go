package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
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
	st := &stream{u: u, e: e, conn: conn, fs: fs, binary: binary}
	st.dec = newDecoder(st.subs.asked)
	st.subs.init(u.channels())
	e.OnChange(func(_, _ []string) error { return st.changed(ctx) })
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
	login  login // the reader's alone
	subs   subscriptions
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
		st.e.Alive(st.fs, frame.Recv)
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
	switch {
	case c.typ == "error":
		return st.failed(ctx, c)
	case c.typ == "success" && c.msg == "connected" && st.login == waitConnected:
		st.login = waitAuthenticated
		return st.send(map[string]any{"action": "auth", "key": st.u.cfg.Key.Reveal(), "secret": st.u.cfg.Secret.Reveal()})
	case c.typ == "success" && c.msg == "authenticated" && st.login == waitAuthenticated:
		st.login = waitSubscribed
		return st.subscribe(ctx)
	case c.typ == "subscription" && st.login >= waitSubscribed:
		return st.subscribed(ctx, c)
	}
	return st.e.Feed().Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("%s %q while waiting for %q", c.typ, c.msg, loginNames[st.login]), m.raw)
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

// failed says what an error message of the stream means for us.
func (st *stream) failed(ctx context.Context, c *control) error {
	err := fmt.Errorf("stream error %d %q", c.code, c.msg)
	switch c.code {
	case 403: // already authenticated
		return nil
	case 402:
		return feed.Refused(fmt.Errorf("%w: check equities.alpaca.key and equities.alpaca.secret", err))
	case 405:
		return st.tooMany(ctx, err)
	case 400, 408, 409, 410, 411:
		return st.notTaken(ctx, c.code, err)
	case 406:
		return feed.RetryAfter(fmt.Errorf("%w: another connection with this key is open, or an old one is still counted", err), st.u.cfg.SlowRetry)
	}
	return err // 401, 404, 407, 500 and what is not listed may pass with a new connection
}
