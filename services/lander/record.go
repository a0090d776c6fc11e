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

// Record is what JetStream remembers of a lander: the range that is being landed, or was landed last. First behind Last: all through Last has landed.
type Record struct {
	bus.Landing
	// LastTime is when JetStream stored the message Last; zero: not known. A message with the same sequence and another time means that the stream lost
	// its end and gave the sequence out again.
	LastTime time.Time `json:"last_time,omitzero"`
	// Decoder is the version of what turns messages into rows, see decoder.
	Decoder int `json:"decoder,omitempty"`
	// Database is the identity of the database that is landed into.
	Database string `json:"database,omitempty"`
	// Owner and Written make a record unique to its writer, which compare-and-swap needs when an answer is lost.
	Owner   string    `json:"owner"`
	Written time.Time `json:"written"`
}

// decoder is the version of the rows that a message becomes: raise it with every change that sends an event to another table or partition, or that makes
// rows of what was dead-lettered before, or the other way round. TestDecoderVersion holds it against the tables' layout.
const decoder = 2

// Token names the range for deduplication.
func (r Record) Token(stream market.Stream, shard bus.Shard) string {
	name := string(stream)
	if shard.Of > 0 {
		name += "/" + shard.String()
	}
	return fmt.Sprintf("%s@%d:%d-%d", name, r.Created, r.First, r.Last)
}

// errDamaged says that a record cannot be read.
var errDamaged = errors.New("record cannot be read")

// loadRecord reads a record; revision 0 means that there is none yet.
func loadRecord(ctx context.Context, cell *bus.Cell) (rec Record, rev uint64, _ error) {
	data, rev, err := cell.Get(ctx)
	if err != nil || rev == 0 {
		return Record{}, 0, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, rev, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if rec.First == 0 || rec.Created == 0 || rec.Last+1 < rec.First {
		return Record{}, rev, fmt.Errorf("%w: range %d-%d of a stream created at %d", errDamaged, rec.First, rec.Last, rec.Created)
	}
	return rec, rev, nil
}

// ledger moves one record.
type ledger struct {
	cell     *bus.Cell
	owner    string
	database string
	rev      uint64
	now      Record
}

func newLedger(cell *bus.Cell) *ledger { return &ledger{cell: cell, owner: nuid.Next()} }

// next makes the record of a range. It is made once for all tries to write it: a try whose answer was lost is recognised by its value.
func (l *ledger) next(at bus.Landing, lastTime time.Time) Record {
	return Record{Landing: at, LastTime: lastTime, Decoder: decoder, Database: l.database, Owner: l.owner, Written: time.Now().UTC()}
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
	l.rev, l.now = rev, rec
	return nil
}
