package clickhouse

import (
	"io/fs"
	"strings"
	"testing"
)

// selectOf is the SELECT of a migration that makes a view.
func selectOf(t *testing.T, name string) string {
	t.Helper()
	found, err := fs.Glob(Migrations, "*_"+name+".sql")
	if err != nil || len(found) != 1 {
		t.Fatalf("migrations of %s: %v, %v", name, found, err)
	}
	text, err := fs.ReadFile(Migrations, found[0])
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\nSELECT\n")
	body, _, end := strings.Cut(after, "\nCOMMENT '")
	if !ok || !end {
		t.Fatalf("%s is no view", found[0])
	}
	return body
}

// A view over a view with parameters is analysed once more by the engine for each level, which takes longer than the query. So some views are copies of the
// view with a moment, with the parameters filled in.
func TestCopiesOfViews(t *testing.T) {
	now := []string{"{as_of:DateTime64(9, 'UTC')}", "toDateTime64('2200-01-01 00:00:00', 9, 'UTC')"}
	always := []string{"{from_date:Date}", "toDate('1970-03-01')", "{to_date:Date}", "toDate('2148-12-31')"}
	for _, c := range []struct {
		of, copied string
		fill       []string
	}{
		{"daily_closes_range_as_of", "daily_closes_as_of", always},
		{"daily_closes_as_of", "daily_closes", now},
		{"pivot_wide_1d_as_of", "pivot_wide_1d", now},
		{"pivot_wide_1m_as_of", "pivot_wide_1m", now},
		{"bars_of_as_of", "bars_of", now},
	} {
		if want := strings.NewReplacer(c.fill...).Replace(selectOf(t, c.of)); selectOf(t, c.copied) != want {
			t.Errorf("%s is not %s with %v", c.copied, c.of, c.fill)
		}
	}
	if selectOf(t, "offers_open_as_of") != selectOf(t, "gpu_offers_as_of")+"\nWHERE action != 'closed'" {
		t.Error("offers_open_as_of is not gpu_offers_as_of without the closed ones")
	}
	// pivot_wide_1d holds daily_closes of its days, without pairs.
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	closes := strings.Replace(flat(selectOf(t, "daily_closes_range_as_of")), "AND session = '' AND stream_time", "AND session = '' AND NOT endsWith(bars.symbol, '-USD') AND stream_time", 1)
	if !strings.Contains(flat(selectOf(t, "pivot_wide_1d_as_of")), closes) {
		t.Error("pivot_wide_1d_as_of does not hold daily_closes_range_as_of")
	}
}
