package market

import (
	"strconv"
	"time"
)

// FeedState is what happened to a feed.
type FeedState string

// The states of a feed's life.
const (
	FeedConnected FeedState = "connected" // the upstream accepted us and the subscriptions
	FeedLost      FeedState = "lost"      // the connection ended, by them, by us or by the network
	FeedStale     FeedState = "stale"     // mute for longer than its cadence allows; torn down
	FeedStopped   FeedState = "stopped"   // we ended it in good order
	FeedRefused   FeedState = "refused"   // the upstream said no in a way that a retry does not cure
)

// FeedEvent is a change of a feed's state.
type FeedEvent struct {
	Meta
	State  FeedState
	Detail string
}

// Stream implements Event.
func (*FeedEvent) Stream() Stream { return Feeds }

// Tokens implements Event: md.v1.feed.<source>.
func (f *FeedEvent) Tokens() (string, []string) { return "feed", []string{f.Source} }

// Identity implements Event.
func (f *FeedEvent) Identity() string {
	return "event|" + f.Source + "|" + string(f.State) + "|" + strconv.FormatInt(f.EventTime.UnixNano(), 10)
}

// Validate implements Event.
func (f *FeedEvent) Validate() error {
	return first(f.validate(), checkText("state", string(f.State)))
}

// GapState is what became of a gap.
type GapState string

// The states of a gap: open, then one of the others for good. Partly is filled as far as the venue has a history; the reason names what has none.
const (
	GapOpen    GapState = "open"
	GapFilled  GapState = "filled"
	GapPartly  GapState = "partly"
	GapGivenUp GapState = "given_up"
)

// FeedGap is a line of the gap ledger. Each change of a gap's state is a new event with the same GapID and a greater Rev.
type FeedGap struct {
	Meta
	GapID  string
	Symbol string // "*" for all of the feed's
	// From and To bound what was missed, in event time; To is zero while the gap is open-ended.
	From, To time.Time
	Reason   string
	State    GapState
	// Recovered counts the events that backfill brought.
	Recovered uint64
}

// Stream implements Event.
func (*FeedGap) Stream() Stream { return Feeds }

// Tokens implements Event: md.v1.feed.<source>.
func (g *FeedGap) Tokens() (string, []string) { return "feed", []string{g.Source} }

// Identity implements Event.
func (g *FeedGap) Identity() string {
	return "gap|" + g.Source + "|" + g.GapID + "|" + strconv.FormatUint(uint64(g.Rev), 10)
}

// Validate implements Event.
func (g *FeedGap) Validate() error {
	err := first(g.validate(), checkText("gap id", g.GapID), checkText("symbol", g.Symbol), checkText("state", string(g.State)))
	if err == nil && !g.To.IsZero() && g.To.Before(g.From) {
		err = invalid(ReasonIncoherent, "gap ends %s before it begins %s", g.To.Format(time.RFC3339), g.From.Format(time.RFC3339))
	}
	return err
}

// Upstream is the DeadLetter.Of of a frame that an upstream sent and that never became an event.
const Upstream = "UPSTREAM"

// MaxDeadPayload bounds the bytes that a dead letter keeps; PayloadBytes has the full length.
const MaxDeadPayload = 64 << 10

// DeadLetter is what could not be understood or landed, with its reason and its bytes.
type DeadLetter struct {
	Meta
	// Of is the stream whose message could not be landed, or Upstream for a frame that was refused at the door.
	Of string
	// Created (Unix s), Seq and Idx are the place in that stream; Idx is -1 for a whole message. Zero for Upstream.
	Created int64
	Seq     uint64
	Idx     int32
	// Subject of the message; for a frame, what it was read from, such as a path or a channel.
	Subject      string
	Reason       Reason
	Detail       string
	Payload      []byte // at most MaxDeadPayload
	PayloadBytes uint64
}

// Stream implements Event.
func (*DeadLetter) Stream() Stream { return Dead }

// Tokens implements Event: md.v1.dead.UPSTREAM.<source>, or md.v1.dead.<stream>.<created>-<seq>-<idx>, a subject of its own for each
// letter so that JetStream itself refuses the second copy.
func (d *DeadLetter) Tokens() (string, []string) {
	if d.Of == Upstream {
		return "dead", []string{d.Of, d.Source}
	}
	return "dead", []string{d.Of, d.PlaceToken()}
}

// PlaceToken names the place of what died.
func (d *DeadLetter) PlaceToken() string {
	return strconv.FormatInt(d.Created, 10) + "-" + strconv.FormatUint(d.Seq, 10) + "-" + strconv.FormatInt(int64(d.Idx), 10)
}

// Identity implements Event.
func (d *DeadLetter) Identity() string {
	if d.Of == Upstream {
		return d.Of + "|" + d.Source + "|" + string(d.Reason) + "|" + strconv.FormatInt(d.EventTime.UnixNano(), 10)
	}
	return d.Of + "|" + d.PlaceToken()
}

// Validate implements Event.
func (d *DeadLetter) Validate() error {
	if len(d.Payload) > MaxDeadPayload {
		return invalid(ReasonValue, "payload of %d bytes is over %d", len(d.Payload), MaxDeadPayload)
	}
	return first(d.validate(), checkText("of", d.Of), checkText("reason", string(d.Reason)))
}

// NewDeadFrame makes the dead letter of a frame from an upstream, its payload cut to MaxDeadPayload and copied.
func NewDeadFrame(source, from string, reason Reason, detail string, frame []byte, recv time.Time) *DeadLetter {
	d := &DeadLetter{
		Meta: Meta{Source: source, EventTime: recv, RecvTime: recv},
		Of:   Upstream, Idx: -1, Subject: from, Reason: reason, Detail: clip(detail, 512), PayloadBytes: uint64(len(frame)),
	}
	d.Payload = append([]byte(nil), frame[:min(len(frame), MaxDeadPayload)]...)
	return d
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
