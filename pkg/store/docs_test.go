package store_test

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The queries that the pages for quants show run on this schema.
func TestQueriesOfThePage(t *testing.T) {
	t.Parallel()
	var queries [][][]byte
	for page, least := range map[string]int{"quants.md": 10, "cookbook.md": 25} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(text, -1)
		if len(found) < least {
			t.Fatalf("%d queries in %s", len(found), page)
		}
		queries = append(queries, found...)
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
