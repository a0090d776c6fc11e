// Command dashboards writes deploy/grafana/dashboards from Grafana's own types, so that what they say is of its schema.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// directory of the dashboards, from tools/observe.
const directory = "../../deploy/grafana/dashboards"

func main() {
	if err := write(directory); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	files, err := generate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes the dashboards by name.
func generate() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, b := range boards() {
		d, err := b.Build()
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		for i := range d.Panels { // links to a panel name its id
			id := uint32(i + 1)
			if p := d.Panels[i].Panel; p != nil {
				p.Id = &id
			} else {
				d.Panels[i].RowPanel.Id = id
			}
		}
		data, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		out[name] = append(data, '\n')
	}
	return out, nil
}
