package main

import (
	"encoding/json"
	"runtime"
	"runtime/debug"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// released is stamped by the linker: -ldflags "-X main.released=v1.2.3".
var released string

// version is the release, else the commit it was built from.
func version() string {
	if released != "" {
		return released
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if rev == "" {
		return "devel"
	}
	return rev + dirty
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	if a.cli.JSON {
		line, err := json.Marshal(map[string]string{"version": version(), "go": runtime.Version(), "clickhouse": chembed.LibraryVersion})
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
		return nil
	}
	a.printf("hashpivot %s, %s, ClickHouse engine %s\n", version(), runtime.Version(), chembed.LibraryVersion)
	return nil
}
