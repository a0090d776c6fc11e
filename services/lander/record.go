package lander

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nuid"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Record is what JetStream remembers of a lander: the range that is being landed, or was landed last.
type Record struct {
	bus.Landing
	// Owner and Written make a record unique to its writer, which compare-and-swap needs when an answer is lost.
	Owner   string    `json:"owner"`
	Written time.Time `json:"written"`
}

// Token names the range for deduplication.
func (r Record) Token(stream market.Stream) string {
	return fmt.Sprintf("%s@%d:%d-%d", stream, r.Created, r.First, r.Last)
}

// LoadRecord reads a stream's record; ok is false if there is none yet.
func LoadRecord(ctx context.Context, b *bus.Bus, stream market.Stream) (rec Record, rev uint64, ok bool, _ error) {
	data, rev, err := b.Cell(bus.LandingKey(stream)).Get(ctx)
	if err != nil || rev == 0 {
		return Record{}, 0, false, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, 0, false, fmt.Errorf("read the lander's record of %s: %w: %w", stream, ErrNewLife, err)
	}
	return rec, rev, true, nil
}

// ledger moves one stream's record.
type ledger struct {
	cell  *bus.Cell
	owner string
	rev   uint64
}

func newLedger(b *bus.Bus, stream market.Stream) *ledger {
	return &ledger{cell: b.Cell(bus.LandingKey(stream)), owner: nuid.Next()}
}

// next makes the record of a range. It is made once for all tries to write it: a try whose answer was lost is recognised by its value.
func (l *ledger) next(created int64, first, last uint64) Record {
	return Record{Landing: bus.Landing{Created: created, First: first, Last: last}, Owner: l.owner, Written: time.Now().UTC()}
}

// move writes the record down. ErrFenced if the one before it is no longer ours.
func (l *ledger) move(ctx context.Context, rec Record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	rev, err := l.cell.Swap(ctx, data, l.rev)
	if errors.Is(err, bus.ErrConflict) {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if err != nil {
		return err
	}
	l.rev = rev
	return nil
}
