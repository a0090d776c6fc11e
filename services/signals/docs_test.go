package signals

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The queries that the page on bars shows run on this schema.
func TestQueriesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/bars.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	if len(queries) < 5 {
		t.Fatalf("%d queries on the page", len(queries))
	}
	st := storetest.Start(t)
	if err := LoadReference(t.Context(), st.Exec); err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		if _, err := st.Query(context.Background(), string(q[1])); err != nil {
			t.Errorf("%v:\n%s", err, q[1])
		}
	}
}
