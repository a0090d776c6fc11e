package chembed_test

import (
	"context"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// TestInsertThatStopsComing: a client that was frozen in the middle of an insert is not waited for longer than its own receive_timeout says, and what it sends when it is
// thawed is not stored. The lander's law leans on it.
func TestInsertThatStopsComing(t *testing.T) {
	srv := chembedtest.Shared(t)
	other := dialChGo(t, srv, "", ch.CompressionDisabled)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	count := func(sql string) uint64 {
		t.Helper()
		var n proto.ColUInt64
		if err := other.Do(ctx, ch.Query{Body: sql, Result: proto.Results{{Name: "n", Data: &n}}}); err != nil {
			t.Fatal(err)
		}
		return n.Row(n.Rows() - 1)
	}
	if err := other.Do(ctx, ch.Query{Body: "CREATE OR REPLACE TABLE stops_coming (n UInt64) ENGINE = MergeTree ORDER BY n"}); err != nil {
		t.Fatal(err)
	}
	const running = "SELECT count() AS n FROM system.processes WHERE query_id = 'stops-coming'"
	frozen := dialChGo(t, srv, "", ch.CompressionDisabled)
	var n proto.ColUInt64
	n.Append(1)
	err := frozen.Do(ctx, ch.Query{
		Body: "INSERT INTO stops_coming (n) VALUES", QueryID: "stops-coming", Input: proto.Input{{Name: "n", Data: &n}},
		Settings: []ch.Setting{{Key: "receive_timeout", Value: "1", Important: true}},
		OnInput: func(context.Context) error {
			for count(running) > 0 && ctx.Err() == nil { // until the server has given up
			}
			return nil
		},
	})
	if err == nil {
		t.Error("the insert succeeded")
	}
	if got := count("SELECT count() AS n FROM stops_coming"); got != 0 {
		t.Errorf("%d rows of an insert that was given up", got)
	}
}
