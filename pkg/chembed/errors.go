package chembed

import "errors"

// The ways in which Start refuses, for a program to tell configuration from
// failure. Each comes wrapped in a sentence that names the fix.
var (
	// ErrConfig: a field of Config cannot be right.
	ErrConfig = errors.New("invalid embedded ClickHouse configuration")
	// ErrLibraryMissing: libchdb.so is not where it is looked for.
	ErrLibraryMissing = errors.New("engine library not found")
	// ErrLibraryInvalid: the file is there and is no libchdb of the pinned version.
	ErrLibraryInvalid = errors.New("engine library cannot be used")
	// ErrDataDirLocked: another process has the data directory open.
	ErrDataDirLocked = errors.New("data directory is in use")
	// ErrDataDirUnusable: the data directory cannot be created, read or written, or
	// the engine cannot read what is in it.
	ErrDataDirUnusable = errors.New("data directory cannot be used")
	// ErrAddressInUse: a port is taken.
	ErrAddressInUse = errors.New("address is in use")
	// ErrNotAChild: the executable did not become the engine process.
	ErrNotAChild = errors.New("executable does not run the engine")
)
