package signals

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The queries that the pages on bars and exposures show run on this schema.
func TestQueriesOfThePages(t *testing.T) {
	t.Parallel()
	var queries [][][]byte
	for page, least := range map[string]int{"bars": 5, "exposure": 2} {
		text, err := os.ReadFile("../../docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(text, -1)
		if len(found) < least {
			t.Fatalf("%d queries on the page on %s", len(found), page)
		}
		queries = append(queries, found...)
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
