package main

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// paint colours words on a terminal, and leaves them alone elsewhere.
type paint struct{ on bool }

func newPaint(w io.Writer) paint { return paint{terminal(w) != nil && os.Getenv("NO_COLOR") == ""} }

// terminal is the terminal that w is; nil: it is none.
func terminal(w io.Writer) *os.File {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return nil
	}
	return f
}

func (p paint) as(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) good(s string) string { return p.as("32", s) }
func (p paint) odd(s string) string  { return p.as("33", s) }
func (p paint) bad(s string) string  { return p.as("1;31", s) }
func (p paint) dim(s string) string  { return p.as("2", s) }
func (p paint) bold(s string) string { return p.as("1", s) }
