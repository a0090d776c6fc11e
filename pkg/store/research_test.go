package store_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// Rows of a run stand once, however often they are written, and the views tell the last state.
func TestResearch(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	asOf := time.Date(2026, 11, 26, 1, 0, 0, 123456789, time.UTC)
	third := 1.0 / 3
	figure := func(run, name string, value *float64, text string) store.ResearchResult {
		return store.ResearchResult{
			TradeDate: day, AsOf: asOf, Notebook: "01_pivot", Name: name, Value: value, Text: text, Unit: "USD/MWh", Note: "n", Mark: "sim-", RunID: run, RunAt: asOf, CodeVersion: "v1",
			Missing: []string{"bars: of IREN are not final"},
		}
	}
	set := []store.ResearchResult{figure("a", "premium", &third, "0.3333333333333333"), figure("a", "note", nil, "")}
	for range 3 {
		if err := st.AddResearchResults(ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.AddResearchResults(ctx, append(set, figure("b", "x", nil, ""))); err == nil || !strings.Contains(err.Error(), "one notebook of one run") {
		t.Errorf("figures of two runs at once: %v", err)
	}
	res, err := st.Query(ctx, "SELECT name, value, text, as_of, missing, complete FROM research_results ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rows) != 2 {
		t.Fatalf("%d rows", len(res.Rows))
	}
	got := res.Rows[1]
	if v, _ := got[1].(float64); math.Float64bits(v) != math.Float64bits(third) || got[2] != "0.3333333333333333" || !got[3].(time.Time).Equal(asOf) || res.Rows[0][1] != nil {
		t.Errorf("rows %v", res.Rows)
	}
	later := figure("b", "premium", nil, "")
	later.RunAt = asOf.Add(time.Hour)
	if err := st.AddResearchResults(ctx, []store.ResearchResult{later}); err != nil {
		t.Fatal(err)
	}
	res, err = st.Query(ctx, "SELECT name, run_id FROM research_results_now ORDER BY name")
	if err != nil || fmt.Sprint(res.Rows) != "[[note a] [premium b]]" {
		t.Errorf("results now %v, %v", res, err)
	}

	row := store.ResearchRun{TradeDate: day, AsOf: asOf, RunID: "a", State: "started", Started: asOf, By: "service"}
	for _, state := range []string{"started", "started", "ended", "ended"} {
		row.State = state
		if state == "ended" {
			row.Ended, row.Differing = asOf.Add(time.Minute), []string{"01_pivot/premium: 1, 2"}
		}
		if err := st.AddResearchRun(ctx, row); err != nil {
			t.Fatal(err)
		}
	}
	res, err = st.Query(ctx, "SELECT count(), countIf(ended IS NULL), (SELECT state FROM research_runs_now WHERE run_id = 'a') FROM research_runs")
	if err != nil || fmt.Sprint(res.Rows) != "[[2 1 ended]]" {
		t.Errorf("runs %v, %v", res, err)
	}

	// The query that the page shows runs on this schema.
	page, err := os.ReadFile("../../docs/nightly.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	if len(queries) == 0 {
		t.Fatal("the page has no query")
	}
	for _, q := range queries {
		if _, err := st.Query(ctx, string(q[1])); err != nil {
			t.Errorf("%v:\n%s", err, q[1])
		}
	}
}
