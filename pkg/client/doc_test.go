package client_test

import (
	"os"
	"strings"
	"testing"
)

// The example that docs/live.md shows is the one that is run.
func TestDocumentShowsTheExample(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/live.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(doc), "```go\n")
	shown, _, ok := strings.Cut(shown, "```")
	if !ok {
		t.Fatal("docs/live.md shows no Go")
	}
	shown = strings.Replace(shown, `"ws://127.0.0.1:8080/v1/ws"`, "url", 1)
	run := strings.ReplaceAll(string(code), "\n\t", "\n")
	run = strings.Replace(run, "\tbreak\n", "", 1) // it would wait for the next trade
	if !strings.Contains(run, shown) {
		t.Errorf("example_test.go does not hold what docs/live.md shows:\n%s", shown)
	}
}
