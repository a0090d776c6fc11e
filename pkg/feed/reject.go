package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The reasons that decoders give, beside those of package market.
const (
	ReasonMalformed   market.Reason = "malformed"    // not the format at all, or cut short
	ReasonType        market.Reason = "type"         // a field of another type than the protocol says
	ReasonTooLarge    market.Reason = "too_large"    // over the read limit
	ReasonUnknownType market.Reason = "unknown_type" // a message type that the protocol does not list
	ReasonProtocol    market.Reason = "protocol"     // well-formed, but not what the protocol allows here
)

// Malformed is a decoder's error with its reason.
type Malformed struct {
	Reason market.Reason
	Err    error
}

func (e *Malformed) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap returns what was wrong.
func (e *Malformed) Unwrap() error { return e.Err }

// ReasonOf finds the reason in err, or returns def.
func ReasonOf(err error, def market.Reason) market.Reason {
	if inv, ok := errors.AsType[*market.Invalid](err); ok {
		return inv.Reason
	}
	if mal, ok := errors.AsType[*Malformed](err); ok {
		return mal.Reason
	}
	return def
}

type rejectState struct {
	minute   time.Time
	kept     int
	loggedAt time.Time
	unlogged int
}

// Reject counts bad input, keeps it (bounded) as a dead letter with its bytes, and logs it once per reason and interval. The feed goes
// on: the returned error is only the sink's.
func (f *Feed) Reject(ctx context.Context, from string, reason market.Reason, cause error, frame []byte) error {
	now := f.Now()
	f.cfg.Metrics.reject(f.cfg.Source, reason)

	f.mu.Lock()
	st := f.rejects[reason]
	if st == nil {
		st = &rejectState{}
		f.rejects[reason] = st
	}
	if now.Sub(st.minute) >= time.Minute {
		st.minute, st.kept = now, 0
	}
	keep := st.kept < f.cfg.RejectKeepPerMinute
	if keep {
		st.kept++
	}
	st.unlogged++
	logNow := st.loggedAt.IsZero() || now.Sub(st.loggedAt) >= f.cfg.RejectLogEvery
	count := st.unlogged
	if logNow {
		st.loggedAt, st.unlogged = now, 0
	}
	f.mu.Unlock()

	detail := ""
	if cause != nil {
		detail = cause.Error()
	}
	if logNow {
		f.log.LogAttrs(ctx, slog.LevelWarn, "rejected input", slog.String("reason", string(reason)), slog.String("from", from),
			slog.String("detail", detail), slog.Int("count", count), slog.Int("bytes", len(frame)))
	}
	if !keep {
		f.cfg.Metrics.rejectUnkept(f.cfg.Source, reason)
		return nil
	}
	return f.cfg.Sink.Publish(ctx, market.NewDeadFrame(f.cfg.Source, from, reason, detail, frame, now))
}
