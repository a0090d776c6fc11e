package store_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The checksum that a batch makes of a row is the one that ClickHouse makes of it, of every table and at the extremes of every column.
func TestChecksumsEqualTheTables(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	type place struct {
		table string
		seq   uint64
		idx   uint32
	}
	run := 0
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		run++
		g := gen{rt}
		b := st.NewBatch()
		want, rows := map[place]uint64{}, 0
		for kind := range kinds {
			for i := range rapid.IntRange(0, 6).Draw(rt, "rows") {
				r := g.event(kind, uint64(run), uint32(kind*100+i))
				if err := b.Add(r.ev, r.at); err != nil {
					rt.Fatalf("add %T: %v", r.ev, err)
				}
				rows++
			}
		}
		sums := map[string]store.GroupSum{}
		b.Checksums(func(table string, seq uint64, idx uint32, sum uint64) {
			want[place{table, seq, idx}] = sum
			s := sums[table]
			sums[table] = store.GroupSum{First: uint64(run), Rows: s.Rows + 1, Distinct: s.Distinct + 1, Sum: s.Sum + sum}
			seen[table]++
		})
		if len(want) != rows {
			rt.Fatalf("%d checksums of %d rows", len(want), rows)
		}
		if err := st.Insert(ctx, b, fmt.Sprint("run", run)); err != nil {
			rt.Fatalf("insert: %v", err)
		}
		for table, sum := range sums {
			q := store.SumQuery{Table: table, First: uint64(run), Last: uint64(run), Step: 1}
			if err := st.RowSums(ctx, q, []uint64{uint64(run)}, func(r store.RowSum) error {
				if w, ok := want[place{table, r.Seq, r.Idx}]; !ok || w != r.Sum || r.Rows != 1 {
					rt.Errorf("%s %d:%d: %d rows with checksum %x, want %x", table, r.Seq, r.Idx, r.Rows, r.Sum, w)
				}
				return nil
			}); err != nil {
				rt.Fatal(err)
			}
			var got store.GroupSum
			if err := st.GroupSums(ctx, q, func(g store.GroupSum) error { got = g; return nil }); err != nil {
				rt.Fatal(err)
			}
			if got != sum {
				rt.Errorf("%s: sums %+v, want %+v", table, got, sum)
			}
		}
	})
	for _, stream := range market.Streams() {
		for _, table := range store.Tables(stream) {
			if seen[table] == 0 {
				t.Errorf("no row of %s was compared", table)
			}
		}
	}
}

func TestSumQueryRefusesWhatIsNoColumn(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	for _, q := range []store.SumQuery{
		{Table: "trades; DROP TABLE trades", First: 1, Last: 2, Step: 1},
		{Table: "trades", Columns: []string{"idx) FROM system.one --"}, First: 1, Last: 2, Step: 1},
		{Table: "trades", First: 0, Last: 2, Step: 1},
		{Table: "trades", First: 1, Last: 2},
	} {
		if err := st.GroupSums(t.Context(), q, nil); err == nil {
			t.Errorf("%+v was run", q)
		}
	}
	// Groups are aligned, and one that is larger than all sequences is one group.
	if err := st.GroupSums(t.Context(), store.SumQuery{Table: "trades", First: 1, Last: math.MaxInt64, Step: math.MaxInt64}, nil); err != nil {
		t.Error(err)
	}
}
