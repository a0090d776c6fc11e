//go:build !linux

package chembed

import "syscall"

// childAttributes is empty where the kernel has no parent-death signal; the end of
// the control pipe ends the child there.
func childAttributes() *syscall.SysProcAttr { return nil }
