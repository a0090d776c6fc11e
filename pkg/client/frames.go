package client

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// read handles frames until the connection ends.
func (k *conn) read() error {
	for {
		_ = k.ws.SetReadDeadline(time.Now().Add(k.mute))
		kind, data, err := k.ws.ReadMessage()
		if err != nil {
			return k.c.cfg.readError(err, k.told)
		}
		if kind == websocket.BinaryMessage {
			err = k.data(data)
		} else {
			err = k.frame(data)
		}
		if err != nil {
			return err
		}
	}
}

// frame handles what is not data.
func (k *conn) frame(data []byte) error {
	var f struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	switch f.Type {
	case live.FrameAck:
		return handle(data, func(f *live.Ack) error {
			if a := k.take(f.ID); a != nil {
				a(f, nil)
			}
			return nil
		})
	case live.FrameError:
		return handle(data, k.refusal)
	case live.FrameHeartbeat:
		return handle(data, k.heard)
	case live.FrameLive:
		return handle(data, k.caughtUp)
	case live.FrameSkipped:
		return handle(data, k.skipped)
	case live.FrameReplay:
		return handle(data, func(f *live.Replay) error {
			if s := k.names[f.Sub]; s != nil && f.State == "ended" {
				s.finish(nil)
				k.c.remove(s)
			}
			return nil
		})
	}
	// The rest informs (slow: the skipped frame behind it counts; shutdown: the close behind it), or is of a later version.
	return nil
}

func handle[F any](data []byte, do func(*F) error) error {
	var f F
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return do(&f)
}

// refusal handles an error: of a request, of a subscription, or of the connection.
func (k *conn) refusal(f *live.ErrorFrame) error {
	if f.ID != "" {
		if a := k.take(f.ID); a != nil {
			a(nil, &f.Error)
		}
		return nil
	}
	if s := k.names[f.Sub]; s != nil {
		k.names[f.Sub] = nil // what is still on its way is passed over: it comes again
		s.unbind()
		k.refused(s, &f.Error)
		return nil
	}
	k.told = &f.Error
	return nil
}

// heard moves the cursors of quiet subscriptions on.
func (k *conn) heard(f *live.Heartbeat) error {
	for name, text := range f.Positions {
		s := k.names[name]
		if s == nil {
			continue
		}
		at, err := live.ParseCursor(text)
		if err != nil {
			return fmt.Errorf("heartbeat of %s: %w", name, err)
		}
		if err := s.moveOn(at); err != nil {
			return err
		}
	}
	return nil
}

func (k *conn) caughtUp(f *live.Live) error {
	s := k.names[f.Sub]
	if s == nil {
		return nil
	}
	at, err := live.ParseCursor(f.Position)
	if err != nil {
		return fmt.Errorf("live of %s: %w", f.Sub, err)
	}
	if err := s.moveOn(at); err != nil {
		return err
	}
	return s.push(k, batch{live: at})
}

func (k *conn) skipped(f *live.SkippedFrame) error {
	s := k.names[f.Sub]
	if s == nil {
		return nil
	}
	for i := range f.Skipped {
		if err := f.Skipped[i].Check(); err != nil {
			return fmt.Errorf("skipped of %s: %w", f.Sub, err)
		}
	}
	return s.push(k, batch{skipped: f.Skipped})
}

// data handles a data or snapshot frame.
func (k *conn) data(bytes []byte) error {
	f, err := live.DecodeDataFrame(bytes)
	if err != nil {
		return err
	}
	s, known := k.names[f.Sub]
	switch {
	case !known: // passing it over could be a hole
		return fmt.Errorf("data of subscription %.100q, which was never acknowledged", f.Sub)
	case s == nil:
		return nil
	}
	b, err := s.accept(&f)
	if err != nil {
		return err
	}
	return s.push(k, b)
}

// subscribe asks for s, from where it stands.
func (k *conn) subscribe(s *Subscription) {
	r, ok := s.request()
	if !ok {
		return
	}
	k.send(r, func(ack *live.Ack, err error) {
		s.answered()
		if err == nil {
			err = k.accepted(s, ack)
		}
		if refusal, ok := err.(*live.Error); ok { //nolint:errorlint // never wrapped
			k.refused(s, refusal)
		}
	})
}

// accepted binds s to the name it has on this connection.
func (k *conn) accepted(s *Subscription, ack *live.Ack) error {
	i := slices.IndexFunc(ack.Subscriptions, func(e live.Subscription) bool { return e.Sub == ack.Sub })
	var state live.Subscription
	switch {
	case i >= 0:
		state = ack.Subscriptions[i]
	case s.replay == nil || ack.Sub == "":
		return live.Errorf(live.CodeInternal, "the acknowledgement of %s does not hold its subscription", s)
	}
	wanted, err := s.begin(ack.Sub, &state)
	if !wanted {
		k.names[ack.Sub] = nil
		k.send(s.farewell(ack.Sub), func(*live.Ack, error) {})
		return err
	}
	k.names[ack.Sub] = s
	return nil
}

// refused decides what becomes of a subscription that the gateway refused or ended.
func (k *conn) refused(s *Subscription, e *live.Error) {
	first := s.fresh()
	again := false
	switch e.Code {
	case live.CodeUnavailable, live.CodeInternal, live.CodeTooMany:
		again = !first
	case live.CodePurged, live.CodeOtherEpoch, live.CodeBadCursor:
		again = !first && k.c.cfg.OnGap != nil && s.gap(e)
	}
	if again {
		k.retry(s)
		return
	}
	if first {
		s.finish(e) // Subscribe says the rest
	} else {
		s.finish(fmt.Errorf("subscription %s: %w", s, e))
	}
	k.c.remove(s)
}
