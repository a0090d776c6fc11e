//go:build !linux

package libchdb

// keepSignals runs f. Only Linux is supported so far; elsewhere the engine is
// asked to leave signals alone and taken at its word.
func keepSignals(f func()) { f() }
