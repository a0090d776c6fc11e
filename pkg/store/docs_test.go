package store_test

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The queries that the page for quants shows run on this schema.
func TestQueriesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/quants.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	if len(queries) < 10 {
		t.Fatalf("%d queries on the page", len(queries))
	}
	st := storetest.Start(t)
	fillTicks(t, st, "trades", 1000)
	fillTicks(t, st, "quotes", 1000)
	for _, q := range queries {
		if _, err := st.Query(context.Background(), string(q[1])); err != nil {
			t.Errorf("%v:\n%s", err, q[1])
		}
	}
}
