package lander

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// patiently does a step again and again until it succeeds. It ends without success only when ctx ends or when the unit is no longer
// ours: a range that was written down is never cut anew and never given up, because its outcome may be unknown.
func (w *worker) patiently(ctx context.Context, step string, do func() error) error {
	bo := &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, MaxInterval: 5 * time.Second, RandomizationFactor: 0.5, Multiplier: 2}
	bo.Reset()
	var warned time.Time
	for {
		began := time.Now()
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrFenced), errors.Is(err, ErrNewLife):
			return err
		}
		if time.Since(began) > 30*time.Second {
			bo.Reset() // it worked for a while; fetch lives long
		}
		w.deps.Metrics.retry(w.stream, step, cause(err))
		if time.Since(warned) > 5*time.Second {
			warned = time.Now()
			hint := ""
			switch {
			case errors.Is(err, errUnsure):
				hint = "NATS is not reached: nothing is sent to ClickHouse until it is"
			case store.IsFull(err):
				hint = "ClickHouse has no room on its disk: free some; nothing is lost"
			case store.IsReplication(err):
				hint = "ClickHouse's replicas or their Keepers do not do it together: see system.replicas on each, and hashpivot doctor; nothing is lost"
			case store.IsSchema(err):
				hint = "the database's schema or rights are not this version's: run hashpivot migrate, check the user"
			case store.IsRefused(err):
				hint = "ClickHouse refuses the values of this range: was a constraint added to the table? remove it, or the stream stands still"
			}
			w.log.Warn("will be tried again", "step", step, "err", err, "hint", hint)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(bo.NextBackOff()):
		}
	}
}

// cause is a word for what hinders a step.
func cause(err error) string {
	switch {
	case errors.Is(err, errUnsure):
		return "place"
	case store.IsOverload(err):
		return "overload"
	case store.IsFull(err):
		return "full"
	case store.IsReplication(err):
		return "replication"
	case store.IsSchema(err):
		return "schema"
	case store.IsRefused(err):
		return "refused"
	case bus.IsNATS(err):
		return "nats"
	}
	if _, spoken := store.Code(err); spoken {
		return "clickhouse"
	}
	if ne, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && ne.Timeout() {
		return "timeout"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return "connection"
	}
	return "other"
}
