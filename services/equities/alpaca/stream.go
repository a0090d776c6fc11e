package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

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
	conn, err := e.Feed().Dial(ctx, feed.WebsocketConfig{URL: u.cfg.StreamURL, Header: header, Compress: u.cfg.Compress})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := &stream{u: u, e: e, conn: conn, fs: fs, binary: binary}
	st.dec = newDecoder(st.subs.asked)
	st.subs.init(u.channels())
	e.OnChange(func(_, _ []string) error { return st.changed(ctx) })
	// Decoding is half of the work; it goes on beside the publishing of what was decoded before.
	dctx, stop := context.WithCancel(ctx)
	ahead := make(chan decoded, decodedAhead)
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.decode(dctx, ahead)
	}()
	defer func() {
		stop()
		conn.Close() // it is what ends a Read that waits
		<-done
	}()
	for {
		d, ok := <-ahead
		if !ok { // ctx has ended
			return fmt.Errorf("read from the stream: %w", context.Cause(ctx))
		}
		if d.failed != nil {
			return readFailed(ctx, e, d.failed)
		}
		if err := st.handle(ctx, d); err != nil {
			return err
		}
	}
}

const (
	// decodedAhead are the batches that wait to be published, decodedTogether the messages of one: a frame may hold a million empty ones.
	decodedAhead, decodedTogether = 4, 512
)

// decoded is a frame, or a part of one.
type decoded struct {
	frame    feed.Frame
	messages []message
	last     bool  // of the frame
	err      error // what is wrong with the frame; with last
	failed   error // the connection ended; alone
}

// decodedSlices come again: one a frame would be much garbage.
var decodedSlices = sync.Pool{New: func() any { return new([]message) }}

// decode reads and decodes until the connection ends or ctx does.
func (st *stream) decode(ctx context.Context, out chan<- decoded) {
	defer close(out)
	send := func(d decoded) bool {
		select {
		case out <- d:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		frame, err := st.conn.Read(ctx)
		if err != nil {
			send(decoded{failed: err})
			return
		}
		if !st.decodeFrame(ctx, frame, send) {
			return
		}
	}
}

// decodeFrame decodes one frame and sends what was in it; false when nobody takes it any more.
func (st *stream) decodeFrame(ctx context.Context, frame feed.Frame, send func(decoded) bool) bool {
	d := decoded{frame: frame, messages: (*decodedSlices.Get().(*[]message))[:0]}
	if frame.Binary == st.binary {
		d.err = st.dec.frame(frame.Data, frame.Binary, func(m message) error {
			d.messages = append(d.messages, m)
			if len(d.messages) < decodedTogether {
				return nil
			}
			if !send(d) {
				return ctx.Err()
			}
			d.messages = (*decodedSlices.Get().(*[]message))[:0]
			return nil
		})
	}
	d.last = true
	return send(d)
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
	login  login // of who publishes alone
	subs   subscriptions
	// understood: something of the frame that is being published was.
	understood bool
}

// handle publishes what was decoded.
func (st *stream) handle(ctx context.Context, d decoded) error {
	defer func() {
		clear(d.messages)
		decodedSlices.Put(&d.messages)
	}()
	f := st.e.Feed()
	if d.frame.Binary != st.binary {
		return f.Reject(ctx, fromStream, feed.ReasonProtocol, errors.New("a frame of the other encoding than asked for"), d.frame.Data)
	}
	for _, m := range d.messages {
		if err := st.message(ctx, m, d.frame.Recv); err != nil {
			return err
		}
	}
	if !d.last {
		return nil
	}
	understood := st.understood
	st.understood = false
	if mal, ok := errors.AsType[*feed.Malformed](d.err); ok {
		if err := f.Reject(ctx, fromStream, mal.Reason, mal, d.frame.Data); err != nil {
			return err
		}
	} else if d.err != nil {
		return d.err
	}
	if understood {
		// Garbage is no sign of life.
		st.e.Alive(st.fs, d.frame.Recv)
	}
	return nil
}

func (st *stream) message(ctx context.Context, m message, recv time.Time) error {
	f := st.e.Feed()
	switch {
	case m.err != nil:
		return f.Reject(ctx, fromStream, feed.ReasonOf(m.err, feed.ReasonMalformed), m.err, m.raw)
	case m.control != nil:
		st.understood = true
		return st.control(ctx, m)
	case st.login != streaming:
		return f.Reject(ctx, fromStream, feed.ReasonProtocol, fmt.Errorf("data while waiting for %q", loginNames[st.login]), m.raw)
	}
	st.understood = true
	m.event.GetMeta().RecvTime = recv
	return st.live(ctx, m)
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
