package chembed

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// crashDir of the data directory keeps a report of every engine that died, the last crashReports of them.
const (
	crashDir     = "crashes"
	crashReports = 20
)

// reportCrash keeps what is known of an engine's death, and returns the file's name.
func (s *Server) reportCrash(p *process, started time.Time) (string, error) {
	dir := filepath.Join(s.child.DataDir, crashDir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	now := time.Now().UTC()
	var b strings.Builder
	fmt.Fprintf(&b, "time: %s\npid: %d\nexit: %s\nafter: %s\nengine: %s (libchdb %s)\nrestarts before: %d\n\nlast output:\n",
		now.Format(time.RFC3339Nano), p.pid, p.exit(), now.Sub(started).Round(time.Millisecond), s.Version(), LibraryVersion, s.Restarts())
	for _, line := range p.output.all() {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	name := filepath.Join(dir, now.Format("20060102T150405.000000000Z")+".txt")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		return "", err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return name, err
	}
	slices.Sort(old) // their names are times
	for len(old) > crashReports {
		if err := os.Remove(old[0]); err != nil {
			return name, err
		}
		old = old[1:]
	}
	return name, nil
}
