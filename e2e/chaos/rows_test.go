package chaos

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAnswerThatIsCutShort: an engine that was killed in the middle of an answer left "7" of "73.89", and the harness took the row for altered.
func TestAnswerThatIsCutShort(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "90124\t73.88\n90125\t7")
		if r.URL.Query().Get("database") == "killed" {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprint(w, "3.89\n")
	}))
	defer srv.Close()
	s := &system{web: strings.TrimPrefix(srv.URL, "http://"), client: *srv.Client()}
	for database, want := range map[string]int{"killed": 1, "whole": 2} {
		n := 0
		err := s.rows(t.Context(), "SELECT", database, func(line string) error {
			if n++; line != "90124\t73.88" && line != "90125\t73.89" {
				t.Errorf("%s: line %q", database, line)
			}
			return nil
		})
		if n != want || (err != nil) != (database == "killed") {
			t.Errorf("%s: %d lines, %v", database, n, err)
		}
	}
}
