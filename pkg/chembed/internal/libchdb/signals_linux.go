package libchdb

import (
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct for rt_sigaction on linux/amd64 and arm64.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const maxSignal = 64

// keepSignals runs f and puts back every signal handler that f changed. The Go
// runtime needs its own: preemption, profiling and its crash reports hang on them.
func keepSignals(f func()) {
	var before [maxSignal + 1]sigaction
	for sig := 1; sig <= maxSignal; sig++ {
		rtSigaction(sig, nil, &before[sig])
	}
	f()
	for sig := 1; sig <= maxSignal; sig++ {
		var now sigaction
		if rtSigaction(sig, nil, &now) && now != before[sig] {
			rtSigaction(sig, &before[sig], nil)
		}
	}
}

func rtSigaction(sig int, set, old *sigaction) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	return errno == 0
}
