package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that is drawn again and again, in its second buffer: what stood there before comes back at the end.
type screen struct{ f *os.File }

func openScreen(f *os.File) *screen {
	_, _ = f.WriteString("\x1b[?1049h\x1b[?25l\x1b[2J")
	return &screen{f}
}

func (s *screen) close() { _, _ = s.f.WriteString("\x1b[?25h\x1b[?1049l") }

// draw shows as much as there is room for. It is written at once and over what stands there, so that nothing flickers.
func (s *screen) draw(lines []string) {
	width, height, err := term.GetSize(int(s.f.Fd()))
	if err != nil || width < 20 || height < 3 {
		width, height = 80, 24
	}
	if len(lines) > height {
		more := len(lines) - height + 1
		lines = append(lines[:height-1:height-1], fmt.Sprintf("... %d lines more: make the window larger, or --once", more))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(clip(l, width))
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, _ = s.f.WriteString(b.String())
}

// clip cuts a line to the width; colours take no room.
func clip(line string, width int) string {
	var b strings.Builder
	for i, n := 0, 0; i < len(line); {
		if line[i] == '\x1b' {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				break
			}
			b.WriteString(line[i : i+end+1])
			i += end + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if n < width {
			b.WriteString(line[i : i+size])
		}
		n++
		i += size
	}
	return b.String()
}
