package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/services/capacity"
)

func TestSize(t *testing.T) {
	f := func(code int, want string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(t.Context(), args, nil, &out, &errs); got != code || !strings.Contains(out.String()+errs.String(), want) {
			t.Errorf("%v: code %d, %s%s, want %d and %s", args, got, &out, &errs, code, want)
		}
		return out.String()
	}
	f(0, "nats.max_bytes: ", "size", "--events", "10")
	f(0, "nats.replicas: 3", "size", "--events", "10000", "--spare")
	f(0, "share the symbols among", "size", "--events", "1000000", "--symbols", "1000")
	f(2, "--events: 0 is not from", "size", "--events", "0")
	f(2, "--hours: 30 is not from", "size", "--events", "10", "--hours", "30")
	f(2, "--events", "size")
	var p capacity.Plan
	if err := json.Unmarshal([]byte(f(0, "{", "--json", "size", "--events", "10000")), &p); err != nil || p.Need.Events != 10_000 || p.Total.Cores == 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// The sheets of docs/capacity.md are what the command prints.
func TestCapacitySheetsAreWhatIsPrinted(t *testing.T) {
	text, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```\n$ bin/hashpivot ")
	if len(blocks) != 4 {
		t.Fatalf("%d sheets", len(blocks)-1)
	}
	for _, block := range blocks[1:] {
		command, rest, _ := strings.Cut(block, "\n")
		want, _, ok := strings.Cut(rest, "```")
		var out, errs bytes.Buffer
		if code := execute(t.Context(), strings.Fields(command), nil, &out, &errs); code != 0 || !ok || out.String() != want {
			t.Errorf("%s prints other than docs/capacity.md says: code %d, %s\n%s", command, code, &errs, &out)
		}
	}
}
