package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/schemas"
)

// The document and the code have the same frames, operations and codes, and a frame the members that the document says.
func TestAsyncAPI(t *testing.T) {
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Payload struct {
					Required   []string
					Properties map[string]any
				}
			}
			Schemas map[string]struct{ Enum []any }
		}
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI, &doc); err != nil {
		t.Fatal(err)
	}
	want := live.FrameTypes()
	for _, op := range live.Ops() {
		want = append(want, "op_"+op)
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(doc.Components.Messages)); !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	text, err := os.ReadFile("../../../pkg/live/channel.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, pattern := range map[string]string{"code": `(?m)^\tCode\w+\s*= "(\w+)"`, "close": `(?m)^\tClose\w+\s*= (\d+)`} {
		var codes []string
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			codes = append(codes, string(m[1]))
		}
		if name == "close" {
			codes = append(codes, "1007", "1009") // the websocket's own
		}
		var got []string
		for _, c := range doc.Components.Schemas[name].Enum {
			got = append(got, fmt.Sprint(c))
		}
		if !slices.Equal(got, codes) {
			t.Errorf("%s: %v, want %v", name, got, codes)
		}
	}
	now := time.Now()
	for kind, frame := range map[string]any{
		"welcome": live.Welcome{}, "ack": live.Ack{Sub: "s"}, "error": live.ErrorFrame{ID: "1", Sub: "s"}, "data": live.DataJSON{Skipped: make([]live.Skipped, 1)},
		"snapshot": live.DataJSON{Position: "p"}, "live": live.Live{}, "slow": live.Slow{}, "skipped": live.SkippedFrame{}, "heartbeat": live.Heartbeat{Resume: "r"},
		"replay": live.Replay{Time: &now}, "shutdown": live.Shutdown{Resume: "r"},
	} {
		data, err := json.Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(data, &members); err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Sorted(maps.Keys(members)), slices.Sorted(maps.Keys(doc.Components.Messages[kind].Payload.Properties)); !slices.Equal(got, want) {
			t.Errorf("frame %s has %v, the document %v", kind, got, want)
		}
	}
}
