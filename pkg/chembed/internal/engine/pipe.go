package engine

import (
	"fmt"
	"os"
)

// pipeSize is what a pipe holds where the system allows it: the engine writes documents in large pieces.
const pipeSize = 256 << 10

// Pipe is what a Document goes through.
func Pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe for the output: %w", err)
	}
	widen(r)
	return r, w, nil
}
