package sandbox

import (
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// maxThreads is Go's bound on operating system threads, raised: every living plugin process
// keeps one.
const maxThreads = 100_000

var raiseThreads = sync.OnceFunc(func() { debug.SetMaxThreads(maxThreads) })

// onOwnThread runs f on an operating system thread of its own that ends with f, and does not
// wait for it. Whatever f does to its thread (namespaces, Landlock, privileges) is inherited
// by what it starts there and by nobody else: Go starts new threads from others. It is never
// the main thread, which cannot end, stands for the whole process in the kernel's eyes, and
// adopts orphans.
func onOwnThread(f func()) {
	raiseThreads()
	go lockedThread(f)
}

func lockedThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f() // and, being locked, the thread ends with this goroutine
		return
	}
	// As long as this goroutine holds the main thread, the next one is on another.
	held := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(held)
		f()
	}()
	<-held
	runtime.UnlockOSThread()
}

// trial runs f on a thread of its own and returns its error: a look at what the kernel
// allows, without a trace.
func trial(f func() error) error {
	result := make(chan error, 1)
	onOwnThread(func() { result <- f() })
	return <-result
}
