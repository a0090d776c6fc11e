//go:build !linux

package nightly

import "syscall"

// childAttributes: a group of its own.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// limitChild bounds nothing here: the time limit and the quota are all there is.
func limitChild(int, uint64, int64) error { return nil }
