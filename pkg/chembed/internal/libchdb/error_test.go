package libchdb

import "testing"

func TestParseError(t *testing.T) {
	f := func(text string, code int, name, rest string) {
		t.Helper()
		if e := parseError(text); e.Code != code || e.Name != name || e.Text != rest {
			t.Errorf("%q: %d, %q, %q", text, e.Code, e.Name, e.Text)
		}
	}
	f("Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", "Unknown table 'x'.")
	f("Code: 60. DB::Exception: Unknown table (id 1). (UNKNOWN_TABLE) (version 26.7.2.1 (official build))", 60, "UNKNOWN_TABLE", "Unknown table (id 1).")
	f("Code: 115. DB::Exception: Code: 115. DB::Exception: Unknown setting 'x'. (UNKNOWN_SETTING)", 115, "UNKNOWN_SETTING", "Unknown setting 'x'.")
	f("Code: 27. DB::ParsingException: x: (at row 1)", 27, "", "DB::ParsingException: x: (at row 1)")
	f("something else", CodeUnknown, "", "something else")
	f("Code: x. y", CodeUnknown, "", "Code: x. y")
	f("", CodeUnknown, "", "")
}

func FuzzParseError(f *testing.F) {
	f.Add("Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE) (version 1)")
	f.Fuzz(func(t *testing.T, text string) {
		if e := parseError(text); e == nil || e.Error() == "" {
			t.Fatal("an error without text")
		}
	})
}
