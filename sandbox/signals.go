package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lastSignal is the highest signal number, see signal(7).
const lastSignal = 64

// sigaction is the kernel's struct of rt_sigaction(2) on x86-64 and arm64, whose
// handler comes first on both.
type sigaction struct {
	handler uintptr
	rest    [3]uint64
}

// unignoreSignals gives signals that this process inherited as ignored, from
// whatever has started the service manager, their default action: an execve
// keeps what is ignored. Handlers it resets itself.
func unignoreSignals() error {
	const ignored = 1 // SIG_IGN
	for sig := uintptr(1); sig <= lastSignal; sig++ {
		var act sigaction
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&act)), 8, 0, 0); errno != 0 {
			return fmt.Errorf("read the action of signal %d: %w", sig, errno)
		}
		if act.handler != ignored {
			continue
		}
		act = sigaction{} // SIG_DFL
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0); errno != 0 {
			return fmt.Errorf("reset the action of signal %d: %w", sig, errno)
		}
	}
	return nil
}
