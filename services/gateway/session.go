package gateway

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

// request answers one request. The error was told already.
func (c *client) request(data []byte) error {
	req, err := live.ParseRequest(data)
	if lerr := c.place.Request(); lerr != nil {
		err = lerr
	}
	if err != nil {
		id := ""
		if req != nil {
			id = req.ID
		}
		c.sendError(id, "", err)
		return err
	}
	sub := ""
	switch req.Op {
	case live.OpAuthenticate:
		err = c.authenticate(req.Token)
	case live.OpSubscribe:
		err = c.subscribe(req)
		if err == nil {
			return nil // the acknowledgement was sent at the right moment
		}
	case live.OpUnsubscribe:
		sub, err = req.Sub, c.unsubscribe(req.Sub)
	case live.OpResume:
		if err = c.resume(req); err == nil {
			return nil
		}
	case live.OpReplay:
		sub, err = c.startReplay(req)
	case live.OpControl:
		sub, err = req.Sub, c.control(req)
	case live.OpPing:
	}
	if err != nil {
		c.sendError(req.ID, sub, err)
		return err
	}
	c.ack(req, sub)
	if req.Op == live.OpReplay {
		c.mu.Lock()
		r := c.replays[sub]
		c.mu.Unlock()
		if r != nil {
			r.begin()
		}
	}
	return nil
}

func (c *client) ack(req *live.Request, sub string) {
	c.mu.Lock()
	frame := live.Ack{Type: live.FrameAck, ID: req.ID, Op: req.Op, Sub: sub, Time: time.Now().UTC(), Subscriptions: c.state()}
	c.mu.Unlock()
	c.send(live.FrameAck, frame)
}

// granted is what the client may do now.
func (c *client) granted() *auth.Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.grant
}

func (c *client) authenticate(token string) error {
	g, err := c.gw.auth.Load().Token(token)
	if err != nil {
		return err
	}
	if err := c.place.Grant(g.Identity(), g.Limits.Connections); err != nil {
		return err
	}
	c.mu.Lock()
	c.grant = g
	subs := slices.Collect(maps.Values(c.subs))
	replays := slices.Collect(maps.Values(c.replays))
	c.mu.Unlock()
	c.expireWith(g)
	// What the new token does not cover ends.
	for _, s := range subs {
		if err := g.Allows(s.spec.Channel, s.spec.Symbols); err != nil {
			c.forget(s)
			c.sendError("", s.id, err)
		}
	}
	for _, r := range replays {
		for _, spec := range r.specs {
			if err := g.Allows(spec.Channel, spec.Symbols); err != nil {
				r.stop()
				c.sendError("", r.id, err)
				break
			}
		}
	}
	return nil
}

// authenticateWithin is how long a connection may do without a token where one is needed.
const authenticateWithin = 10 * time.Second

// expireWith closes the connection when its grant ends.
func (c *client) expireWith(g *auth.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if c.closed {
		return
	}
	if len(g.Scope()) == 0 {
		c.expiry = time.AfterFunc(authenticateWithin, func() { c.close(live.CloseUnauthorised, "no token was given in time") })
	} else if !g.Expires.IsZero() {
		c.expiry = time.AfterFunc(time.Until(g.Expires), func() { c.close(live.CloseExpired, "the token has expired; come back with a new one") })
	}
}

// want is a subscription that was asked for and found good.
type want struct {
	spec  live.Spec
	from  live.From
	epoch string
}

// normalize refuses what cannot be selected, and what nobody makes: it would be silent for ever.
func (g *Gateway) normalize(spec *live.Spec) error {
	if err := spec.Normalize(); err != nil {
		return err
	}
	made := append([]market.Interval{market.Interval1s, market.Interval1m, market.Interval1h, market.Interval1d}, g.deps.Intervals...)
	if spec.Channel == live.Bars && !slices.Contains(made, spec.Interval) {
		slices.SortFunc(made, func(a, b market.Interval) int { return cmp.Compare(a.Duration(), b.Duration()) })
		return live.Errorf(live.CodeBadInterval, "bars of %s are not made here, but those of %v are; signals.bars.intervals adds more, and /v1/bars answers any", spec.Interval, slices.Compact(made))
	}
	return nil
}

func (c *client) wanted(spec live.Spec, from, epoch string) (*want, error) {
	if err := c.gw.normalize(&spec); err != nil {
		return nil, err
	}
	f, err := live.ParseFrom(from)
	if err != nil {
		return nil, err
	}
	if err := c.gw.follows(c.ctx, spec.Stream()); err != nil {
		return nil, err
	}
	g := c.granted()
	if err := g.Allows(spec.Channel, spec.Symbols); err != nil {
		return nil, err
	}
	if most := c.gw.rateOf(g); most > 0 && (spec.MaxRate == 0 || spec.MaxRate > most) {
		spec.MaxRate = most
	}
	if f.Kind == live.FromCursor && f.Cursor.Stream != spec.Stream() {
		return nil, live.Errorf(live.CodeBadCursor, "cursor %s is of another stream than channel %s, whose cursors begin with %s", f.Cursor, spec.Channel, spec.Stream())
	}
	if epoch != "" && epoch != c.gw.streams[spec.Stream()].epochText() {
		return nil, live.Errorf(live.CodeOtherEpoch, "stream %s was made again since: its epoch is %s, yours %.32s; begin anew, from a snapshot or a time", spec.Stream(),
			c.gw.streams[spec.Stream()].epochText(), epoch)
	}
	return &want{spec, f, epoch}, nil
}

// register makes room for the subscription.
func (c *client) register(w *want) (_ *subscription, err error) {
	if err := c.place.Subscribe(1); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.place.Unsubscribe(1)
		}
	}()
	ctx, cancel := context.WithCancel(c.ctx)
	sub := &subscription{id: w.spec.ID(), spec: w.spec, epoch: c.gw.streams[w.spec.Stream()].epochText(), ctx: ctx, cancel: cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch most := c.gw.subscriptionsOf(c.grant); {
	case c.closed:
		cancel()
		return nil, live.Errorf(live.CodeUnavailable, "the connection is closing")
	case c.subs[sub.id] != nil:
		cancel()
		return nil, live.Errorf(live.CodeAlreadySubscribed, "you have %s already; unsubscribe first", sub.id)
	case len(c.subs) >= most:
		cancel()
		return nil, live.Errorf(live.CodeTooMany, "%d subscriptions are the most of one connection; name several symbols in one, or use a pattern", most)
	}
	c.subs[sub.id] = sub
	c.gw.metrics.subscriptions.Inc()
	return sub, nil
}

// forget takes the subscription back.
func (c *client) forget(sub *subscription) {
	c.mu.Lock()
	if c.subs[sub.id] == sub {
		delete(c.subs, sub.id)
		c.gw.metrics.subscriptions.Dec()
		c.place.Unsubscribe(1)
	}
	c.mu.Unlock()
	sub.end()
	c.gw.streams[sub.spec.Stream()].leave(sub)
}

func (c *client) subscribe(req *live.Request) error {
	w, err := c.wanted(req.Spec(), req.From, req.Epoch)
	if err != nil {
		return err
	}
	sub, err := c.register(w)
	if err != nil {
		return err
	}
	if err := c.begin(sub, w.from, func() { c.ack(req, sub.id) }); err != nil {
		c.forget(sub)
		return err
	}
	return nil
}

func (c *client) unsubscribe(id string) error {
	c.mu.Lock()
	sub, rep := c.subs[id], c.replays[id]
	c.mu.Unlock()
	switch {
	case sub != nil:
		c.forget(sub)
		return nil
	case rep != nil:
		rep.stop()
		return nil
	}
	return live.Errorf(live.CodeNotSubscribed, "there is no subscription %.64q; the acknowledgement of subscribe names it", id)
}

// token is what a resume token says.
type token struct {
	Version int         `json:"v"`
	Subs    []tokenItem `json:"s"`
}

type tokenItem struct {
	Spec  live.Spec `json:"q"`
	At    string    `json:"c"`
	Epoch string    `json:"e"`
}

// resumeToken says what the client has and up to where. c.mu is held.
func (c *client) resumeToken() string {
	if len(c.subs) == 0 {
		return ""
	}
	t := token{Version: 1}
	for _, id := range slices.Sorted(maps.Keys(c.subs)) {
		s := c.subs[id]
		t.Subs = append(t.Subs, tokenItem{Spec: s.spec, At: s.at().String(), Epoch: s.epoch})
	}
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // texts and numbers
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// resume takes up everything that a connection had, on whichever gateway. It is all or nothing.
func (c *client) resume(req *live.Request) error {
	bad := func() error {
		return live.Errorf(live.CodeBadRequest, "resume is no token of a heartbeat; subscribe again with your cursors")
	}
	text, err := base64.RawURLEncoding.DecodeString(req.Resume)
	if err != nil {
		return bad()
	}
	var t token
	if json.Unmarshal(text, &t) != nil || t.Version != 1 || len(t.Subs) == 0 || len(t.Subs) > c.gw.limits.Config().Subscriptions {
		return bad()
	}
	var wants []*want
	for _, s := range t.Subs {
		at := s.At
		if newer := req.Positions[s.Spec.ID()]; newer != "" {
			at = newer
		}
		w, err := c.wanted(s.Spec, at, s.Epoch)
		if err != nil {
			return err
		}
		if w.from.Kind != live.FromCursor {
			return live.Errorf(live.CodeBadFrom, "position %.64q of %s is no cursor; a resume goes on from one", at, w.spec.ID())
		}
		wants = append(wants, w)
	}
	var subs []*subscription
	undo := func() {
		for _, s := range subs {
			c.forget(s)
		}
	}
	for _, w := range wants {
		sub, err := c.register(w)
		if err != nil {
			undo()
			return err
		}
		sub.start = w.from.Cursor
		sub.sent(w.from.Cursor)
		subs = append(subs, sub)
	}
	for i, sub := range subs {
		if err := c.reach(sub, wants[i].from.Cursor); err != nil {
			undo()
			return err
		}
	}
	c.ack(req, "")
	for i, sub := range subs {
		c.catchUp(sub, wants[i].from.Cursor)
	}
	return nil
}

// heartbeat is the frame that says up to where the client has everything. It is made on the client's shard, so nothing is being written meanwhile.
func (c *client) heartbeat() []byte {
	c.mu.Lock()
	subs := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	h := live.Heartbeat{Type: live.FrameHeartbeat, Time: time.Now().UTC(), Positions: make(map[string]string, len(subs))}
	for _, s := range subs {
		c.advance(s)
		h.Positions[s.id] = s.at().String()
	}
	c.mu.Lock()
	h.Resume = c.resumeToken()
	c.mu.Unlock()
	return c.variant.control(live.FrameHeartbeat, h)
}

// advance notes that a quiet subscription has everything up to the stream's head. The order of the questions matters: what was stored up to the head that is
// read first is in the window, in the topic, or written.
func (c *client) advance(s *subscription) {
	r := s.reader.Load()
	if r == nil {
		return
	}
	head := c.gw.streams[s.spec.Stream()].position()
	if r.topic.sel.held.Load() == 0 && r.drained() {
		s.sent(head)
	}
}
