package signals

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/schemas/reference"
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
	facts, err := reference.Facts()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range facts {
		if err := st.Exec(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range queries {
		if _, err := st.Query(context.Background(), string(q[1])); err != nil {
			t.Errorf("%v:\n%s", err, q[1])
		}
	}
}
