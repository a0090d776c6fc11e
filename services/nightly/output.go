package nightly

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// Bounds of what is kept of a child's output.
const (
	maxLogBytes = 4 << 20
	maxLogLines = 200 // in our own log; the file has the rest
	maxLogLine  = 16 << 10
	tailBytes   = 8 << 10
)

// capture takes a child's output, line by line, into a file and our log. It is written by one goroutine at a time.
type capture struct {
	file    *os.File
	log     *slog.Logger
	hide    func(string) string
	line    []byte
	written int
	lines   int
	tail    []byte
}

func newCapture(path string, log *slog.Logger, hide func(string) string) (*capture, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep output: %w", err)
	}
	return &capture{file: f, log: log, hide: hide}, nil
}

// Write never fails: a child must not stop because its words cannot be kept.
func (c *capture) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		take := p
		if i >= 0 {
			take = p[:i]
		}
		if room := maxLogLine - len(c.line); room > 0 {
			c.line = append(c.line, take[:min(room, len(take))]...)
		}
		if i < 0 {
			break
		}
		c.flush()
		p = p[i+1:]
	}
	return n, nil
}

func (c *capture) flush() {
	line := c.hide(strings.ToValidUTF8(string(c.line), "\uFFFD"))
	c.line = c.line[:0]
	if len(line) > maxLogLine {
		line = line[:maxLogLine]
	}
	c.tail = append(append(c.tail, line...), '\n')
	if over := len(c.tail) - tailBytes; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	switch before := c.written; {
	case before >= maxLogBytes:
	case before+len(line)+1 > maxLogBytes:
		_, _ = c.file.WriteString("... the rest is not kept\n")
		c.written = maxLogBytes
	default:
		k, _ := c.file.WriteString(line + "\n")
		c.written += k
	}
	c.lines++
	switch {
	case c.lines < maxLogLines:
		c.log.Info("notebook says", "line", line)
	case c.lines == maxLogLines:
		c.log.Info("notebook says more; the file has it", "file", filepath.Base(c.file.Name()))
	}
}

// close ends the file and returns the end of what was said.
func (c *capture) close() string {
	if len(c.line) > 0 {
		c.flush()
	}
	_ = c.file.Close()
	return strings.ToValidUTF8(string(c.tail), "")
}

// hider replaces secrets. Short ones are left: replacing "a" would hide nothing and break everything.
func hider(secrets ...run.Secret) func(string) string {
	var pairs []string
	for _, s := range secrets {
		if v := s.Reveal(); len(v) >= 4 {
			pairs = append(pairs, v, s.String())
		}
	}
	r := strings.NewReplacer(pairs...)
	return r.Replace
}

// writeFile writes a whole file or nothing.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// point makes a symbolic link to a neighbour, or a descendant of one, in one step.
func point(link, target string) error {
	tmp := link + ".new"
	_ = os.Remove(tmp)
	if err := os.Symlink(target, tmp); err != nil {
		return fmt.Errorf("point %s to %s: %w", link, target, err)
	}
	if err := os.Rename(tmp, link); err != nil {
		return fmt.Errorf("point %s to %s: %w", link, target, err)
	}
	return nil
}
