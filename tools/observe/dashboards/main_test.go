package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// What is committed is what the generator makes: go run ./dashboards writes it.
func TestCommittedDashboards(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("..", directory)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if ok && want[name] == nil {
			t.Errorf("%s is made by nobody", e.Name())
		}
	}
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil || string(got) != string(data) {
			t.Errorf("%s.json is not what the generator makes (%v); run it: GOWORK=off go run ./dashboards, in tools/observe", name, err)
		}
	}
}

// The committed files are read back strictly by Grafana's own types: an unknown field, a wrong type or a value that its schema does not allow is an error. Ids are unique and no panel covers another.
func TestDashboardsAreOfTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	cog.NewRuntime().RegisterDataqueryVariant(variants.DataqueryConfig{
		Identifier: *clickhouse.Type,
		DataqueryUnmarshaler: func(raw []byte) (variants.Dataquery, error) {
			var q sql
			return q, json.Unmarshal(raw, &q)
		},
		StrictDataqueryUnmarshaler: func(raw []byte) (variants.Dataquery, error) {
			dec := json.NewDecoder(strings.NewReader(string(raw)))
			dec.DisallowUnknownFields()
			var q sql
			err := dec.Decode(&q)
			return q, err
		},
	})
	files, err := filepath.Glob(filepath.Join("..", directory, "*.json"))
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The strict reading returns a list of errors that is not nil when it is empty, and for that reason drops the panels that it has read: so they are read again.
		if err := new(dashboard.Dashboard).UnmarshalJSONStrict(data); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var d dashboard.Dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		// What the types do not know would be gone when it is written again.
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var was, is any
		if err := errors.Join(json.Unmarshal(data, &was), json.Unmarshal(again, &is)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%s has what Grafana's types do not know, or lacks what they always write", file)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if d.Uid == nil || uids[*d.Uid] {
			t.Errorf("%s: no uid of its own", file)
			continue
		}
		uids[*d.Uid] = true
		ids := map[uint32]bool{}
		taken := map[[2]uint32]string{}
		for _, x := range d.Panels {
			p := x.Panel
			if p == nil {
				continue
			}
			if p.Id == nil || ids[*p.Id] {
				t.Errorf("%s: panel %q has no id of its own", file, *p.Title)
				continue
			}
			ids[*p.Id] = true
			if p.Title == nil || p.Description == nil || *p.Description == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d wants a title, a word about what it shows, and a query", file, *p.Id)
			}
			g := p.GridPos
			if g.X+g.W > 24 {
				t.Errorf("%s: %q hangs over the edge", file, *p.Title)
			}
			for y := g.Y; y < g.Y+g.H; y++ {
				for col := g.X; col < g.X+g.W; col++ {
					if other := taken[[2]uint32{col, y}]; other != "" {
						t.Fatalf("%s: %q covers %q", file, *p.Title, other)
					}
					taken[[2]uint32{col, y}] = *p.Title
				}
			}
		}
		if len(ids) < 10 {
			t.Errorf("%s has only %d panels", file, len(ids))
		}
	}
}
