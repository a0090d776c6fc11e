package clickhouse

import (
	"io/fs"
	"strings"
	"testing"
)

// newest are the migrations that made each table and view last, by its name.
func newest(t *testing.T) map[string]string {
	t.Helper()
	files, err := fs.Glob(Migrations, "*.sql") // in the order of their numbers
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations: %v, %v", files, err)
	}
	out := map[string]string{}
	for _, file := range files {
		text, err := fs.ReadFile(Migrations, file)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(file, ".sql"), "_")
		out[name] = string(text)
	}
	return out
}

// selectOf is the SELECT of the newest migration that makes a view.
func selectOf(t *testing.T, name string) string {
	t.Helper()
	_, after, ok := strings.Cut(newest(t)[name], "\nSELECT\n")
	body, _, end := strings.Cut(after, "\nCOMMENT '")
	if !ok || !end {
		t.Fatalf("%s is no view", name)
	}
	return body
}

// Of equal revisions the one that JetStream stored last holds. The sequence alone does not tell which that is: a stream that was made again begins anew.
func TestRevisionsAreOrderedByTheirStreamTime(t *testing.T) {
	for name, text := range newest(t) {
		if strings.Contains(text, "rev, stream_seq") || strings.Contains(text, "rev DESC, stream_seq") {
			t.Errorf("%s picks a revision by its sequence, without its stream time", name)
		}
	}
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
	// pivot_wide_1d holds what daily_closes is made from, of its days, without pairs.
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	_, from, ok := strings.Cut(flat(selectOf(t, "daily_closes_range_as_of")), " AS reason FROM ( ")
	from = strings.Replace(from, "AND session = '' AND stream_time", "AND session = '' AND NOT endsWith(symbol, '-USD') AND stream_time", 1)
	if !ok || !strings.Contains(flat(selectOf(t, "pivot_wide_1d_as_of")), from) {
		t.Error("pivot_wide_1d_as_of does not hold daily_closes_range_as_of")
	}
}
