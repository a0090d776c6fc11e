// Package dead takes dead letters in hand: it lists them, publishes them again once what they died of is mended, and discards them. A letter is never taken away:
// what became of it is a mark beside it, and the balance of its message stays published = landed + dead.
package dead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Deps is what the letters are kept in.
type Deps struct {
	Bus    *bus.Bus
	Store  *store.Store
	Logger *slog.Logger
	// By is who acts, written into the marks.
	By string
}

// ID names a letter by its place in the stream DEAD; All is true for all letters of the message.
type ID struct {
	Seq uint64
	Idx uint32
	All bool
}

// ParseID reads 123, or 123:4 where a message has several letters.
func ParseID(text string) (ID, error) {
	seq, idx, one := strings.Cut(text, ":")
	id := ID{All: !one}
	var err error
	if id.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || id.Seq == 0 {
		return ID{}, fmt.Errorf("%.40q names no dead letter; give its number as hashpivot dead list prints it, such as 17 or 17:2", text)
	}
	if one {
		n, err := strconv.ParseUint(idx, 10, 32)
		if err != nil {
			return ID{}, fmt.Errorf("%.40q names no dead letter; give its number as hashpivot dead list prints it, such as 17 or 17:2", text)
		}
		id.Idx = uint32(n)
	}
	return id, nil
}

// Name is the letter's number as ParseID reads it.
func Name(l store.Letter) string {
	return strconv.FormatUint(l.At.Seq, 10) + ":" + strconv.FormatUint(uint64(l.At.Idx), 10)
}

// Select reads the letters of a query, and of those the named ones where ids are given. A number of an earlier life of the stream DEAD gives way to one of the
// present life.
func Select(ctx context.Context, d Deps, q store.LetterQuery, ids []ID) ([]store.Letter, error) {
	for _, id := range ids {
		q.Seqs = append(q.Seqs, id.Seq)
	}
	var out []store.Letter
	if err := d.Store.Letters(ctx, q, func(l store.Letter) error {
		if len(ids) == 0 || named(l, ids) {
			out = append(out, l)
		}
		return nil
	}); store.IsSchema(err) {
		return nil, fmt.Errorf("%w; the database is of another version: hashpivot migrate brings it to this one", err)
	} else if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return out, nil
	}
	newest := map[ID]time.Time{}
	for _, l := range out {
		newest[ID{Seq: l.At.Seq, Idx: l.At.Idx}] = l.At.StreamTime // they come in the order of their times
	}
	kept := out[:0]
	for _, l := range out {
		if newest[ID{Seq: l.At.Seq, Idx: l.At.Idx}].Equal(l.At.StreamTime) {
			kept = append(kept, l)
		}
	}
	for _, id := range ids {
		found := false
		for _, l := range kept {
			found = found || named(l, []ID{id})
		}
		if !found {
			return nil, fmt.Errorf("there is no dead letter %d in the table dead_letters; hashpivot dead list names those there are (one that was just stored must land first)", id.Seq)
		}
	}
	return kept, nil
}

// Whole reads letters again, with their bytes.
func Whole(ctx context.Context, d Deps, letters []store.Letter) ([]store.Letter, error) {
	type place struct {
		seq  uint64
		idx  uint32
		time int64
	}
	placeOf := func(l store.Letter) place { return place{l.At.Seq, l.At.Idx, l.At.StreamTime.UnixNano()} }
	q := store.LetterQuery{Payloads: true}
	want := map[place]bool{}
	for _, l := range letters {
		q.Seqs = append(q.Seqs, l.At.Seq)
		want[placeOf(l)] = true
	}
	var out []store.Letter
	err := d.Store.Letters(ctx, q, func(l store.Letter) error {
		if want[placeOf(l)] {
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

func named(l store.Letter, ids []ID) bool {
	for _, id := range ids {
		if l.At.Seq == id.Seq && (id.All || l.At.Idx == id.Idx) {
			return true
		}
	}
	return false
}

// Behind is how many messages of the stream DEAD have not landed in the table that the letters are read from.
func Behind(ctx context.Context, b *bus.Bus) (uint64, error) {
	info, err := b.Info(ctx, market.Dead)
	if err != nil {
		return 0, err
	}
	l, ok, err := b.Landing(ctx, market.Dead)
	if err != nil {
		return 0, err
	}
	if !ok || l.Created != info.Created.UnixNano() {
		return info.Messages, nil
	}
	return info.LastSeq - min(max(l.Last, l.First-min(l.First, 1)), info.LastSeq), nil
}

// ErrRefused says why a letter is not published again.
var ErrRefused = errors.New("not published again")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Bytes are the message, or the event, that a letter is about, whole: from the letter, or from the stream where the letter has only their beginning.
func Bytes(ctx context.Context, d Deps, l store.Letter) ([]byte, error) {
	if uint64(len(l.Payload)) == l.PayloadBytes && len(l.Payload) > 0 {
		return l.Payload, nil
	}
	cut := fmt.Sprintf("the letter keeps %d of its %d bytes", len(l.Payload), l.PayloadBytes)
	st := market.Stream(l.Of)
	info, err := d.Bus.Info(ctx, st)
	if err != nil {
		return nil, err
	}
	if info.Created.Unix() != l.Created {
		return nil, refused("%s, and the message itself was of an earlier life of stream %s", cut, st)
	}
	m, err := d.Bus.Get(ctx, st, l.Seq)
	if err != nil {
		return nil, refused("%s, and the stream does not give the message any more (%v)", cut, err)
	}
	if l.Idx < 0 {
		return m.Data, nil
	}
	events, err := wire.Decode(st, m.Data)
	if err != nil || int(l.Idx) >= len(events) {
		return nil, refused("%s, and message %d of %s has no event %d that can be read", cut, l.Seq, st, l.Idx)
	}
	data, err := wire.Encode(nil, events[l.Idx:l.Idx+1])
	if err != nil {
		return nil, refused("%s, and the event cannot be written again: %v", cut, err)
	}
	return data, nil
}

// plan is what a replay will publish.
type plan struct {
	again bus.Again
	// die is how many of the events will be dead-lettered again, and why the first of them.
	die int
	why error
}

// planOf decides whether a letter can be published again: only where this version can land something of it.
func planOf(ctx context.Context, d Deps, l store.Letter) (plan, error) {
	var p plan
	if l.Of == market.Upstream {
		return p, refused("these are bytes of the upstream %s (%s) that its adapter could not read, and only the adapter can: once it is mended, its backfill fetches from the "+
			"upstream's history what the frame told (hashpivot backfill, or the feed itself at its next start); then discard the letter", l.Source, l.Subject)
	}
	st := market.Stream(l.Of)
	if store.Tables(st) == nil {
		return p, refused("its stream %.40q is none of ours", l.Of)
	}
	data, err := Bytes(ctx, d, l)
	if err != nil {
		return p, err
	}
	events, err := wire.Decode(st, data)
	if err != nil {
		return p, refused("this version cannot read it either (%v); mend the decoder first", err)
	}
	b := store.NewBatch()
	for i, ev := range events {
		err := ev.Validate()
		if err == nil {
			err = b.Add(ev, market.Place{Stream: st, Seq: 1, Idx: uint32(i), StreamTime: l.At.StreamTime})
		}
		if err != nil {
			p.die++
			if p.why == nil {
				p.why = err
			}
		}
	}
	if b.Rows() == 0 {
		return p, refused("this version cannot land it either (%v); mend what refuses it first", p.why)
	}
	info, err := d.Bus.Info(ctx, st)
	if err != nil {
		return p, err
	}
	p.again = bus.Again{Stream: st, Subject: l.Subject, ID: "again." + l.Of + "." + l.PlaceToken(), Data: data, Events: len(events)}
	if info.Created.Unix() == l.Created {
		p.again.After = l.Seq
	}
	return p, nil
}

// Outcome is what became of a letter.
type Outcome struct {
	Letter string `json:"letter"`
	Of     string `json:"stream"`
	Seq    uint64 `json:"seq,omitempty"`
	Idx    int32  `json:"idx"`
	Source string `json:"source"`
	Reason string `json:"reason"`
	// Fate is replayed, already (it was replayed before), refused, would_replay or discarded.
	Fate string `json:"fate"`
	Why  string `json:"why,omitempty"`
	// ReplaySeq is where it was published again; of its Events so many have Landed and so many DiedAgain as far as was waited for.
	ReplaySeq uint64 `json:"replay_seq,omitempty"`
	Events    int    `json:"events,omitempty"`
	Landed    uint64 `json:"landed,omitempty"`
	DiedAgain uint64 `json:"died_again,omitempty"`
}

func outcome(l store.Letter) Outcome {
	return Outcome{Letter: Name(l), Of: l.Of, Seq: l.Seq, Idx: l.Idx, Source: l.Source, Reason: string(l.Reason)}
}

// Replay publishes a letter again into its stream, from where the lander lands it like any other message, and marks it. Done again it does nothing. dry tells what
// would be done.
func Replay(ctx context.Context, d Deps, l store.Letter, dry bool) (Outcome, error) {
	o := outcome(l)
	if l.Fate == store.FateReplayed {
		o.Fate, o.ReplaySeq, o.Why = "already", l.Mark.ReplaySeq, fmt.Sprintf("by %s, %s", l.Mark.By, l.Mark.At.Format(time.RFC3339))
		return o, nil
	}
	p, err := planOf(ctx, d, l)
	if errors.Is(err, ErrRefused) {
		o.Fate, o.Why = "refused", strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("replay dead letter %s: %w", Name(l), err)
	}
	o.Events = p.again.Events
	if p.die > 0 {
		o.Why = fmt.Sprintf("%d of its %d events will die again (%v)", p.die, p.again.Events, p.why)
	}
	if dry {
		o.Fate = "would_replay"
		return o, nil
	}
	seq, there, err := d.Bus.PublishAgain(ctx, p.again)
	if err != nil {
		return o, fmt.Errorf("replay dead letter %s: %w; nothing is published twice if you run it again", Name(l), err)
	}
	o.Fate, o.ReplaySeq = "replayed", seq
	if there {
		o.Why = strings.TrimPrefix(o.Why+"; it had been published again before, and was not marked", "; ")
	}
	err = d.Store.AddDeadMark(ctx, store.DeadMark{
		Seq: l.At.Seq, Idx: l.At.Idx, Time: l.At.StreamTime, Fate: store.FateReplayed, By: d.By, At: time.Now().UTC(), ReplayStream: p.again.Stream, ReplaySeq: seq,
		ReplayEvents: uint32(p.again.Events),
	})
	if err != nil {
		return o, fmt.Errorf("replay dead letter %s: it is published again as %s %d, but: %w; run it again to mark it, nothing is published twice", Name(l), p.again.Stream, seq, err)
	}
	return o, nil
}

// Discard marks a letter: somebody has seen it and it stays dead.
func Discard(ctx context.Context, d Deps, l store.Letter, why string) (Outcome, error) {
	o := outcome(l)
	switch l.Fate {
	case store.FateReplayed:
		o.Fate, o.Why, o.ReplaySeq = "refused", "it was replayed and is in the tables", l.Mark.ReplaySeq
		return o, nil
	case store.FateDiscarded:
		o.Fate, o.Why = "already", fmt.Sprintf("by %s, %s", l.Mark.By, l.Mark.At.Format(time.RFC3339))
		return o, nil
	}
	o.Fate, o.Why = store.FateDiscarded, why
	err := d.Store.AddDeadMark(ctx, store.DeadMark{
		Seq: l.At.Seq, Idx: l.At.Idx, Time: l.At.StreamTime, Fate: store.FateDiscarded, By: d.By, Why: why, At: time.Now().UTC(),
	})
	if err != nil {
		return o, fmt.Errorf("discard dead letter %s: %w", Name(l), err)
	}
	return o, nil
}

// Await waits until the events that were published again are in the tables or dead again, and counts both; it ends with ctx without an error.
func Await(ctx context.Context, d Deps, o *Outcome) error {
	if o.Fate != "replayed" || o.ReplaySeq == 0 {
		return nil
	}
	info, err := d.Bus.Info(ctx, market.Stream(o.Of))
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		counts, err := d.Store.Landed(ctx, info.Stream, info.Created, o.ReplaySeq, o.ReplaySeq)
		if err == nil {
			o.Landed, o.DiedAgain = 0, 0
			for _, c := range counts {
				o.Landed += c.Distinct
			}
			if o.Landed < uint64(o.Events) {
				err = d.Store.Letters(ctx, store.LetterQuery{Of: o.Of, First: o.ReplaySeq, Last: o.ReplaySeq}, func(l store.Letter) error {
					if o.DiedAgain++; l.Idx < 0 {
						o.DiedAgain = uint64(o.Events)
					}
					return nil
				})
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("look whether %s %d has landed: %w", o.Of, o.ReplaySeq, err)
		case o.Landed+o.DiedAgain >= uint64(o.Events):
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
