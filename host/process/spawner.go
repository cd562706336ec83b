package process

import (
	"runtime"
	"sync"
)

// spawner starts all plugin processes from one operating system thread that lives as
// long as the host does. The parent-death signal fires when the THREAD that forked dies,
// not the process (golang/go#27505), so a fork from any of Go's own threads could kill a
// healthy plugin.
var spawner = sync.OnceValue(func() chan<- func() {
	ch := make(chan func())
	go spawnLoop(ch)
	return ch
})

// spawnLoop never returns: a locked goroutine that ends takes its thread along.
func spawnLoop(ch <-chan func()) {
	runtime.LockOSThread()
	for f := range ch {
		f()
	}
}

// onSpawner runs f on the spawner's thread and waits for it.
func onSpawner(f func()) {
	done := make(chan struct{})
	spawner() <- func() {
		defer close(done)
		f()
	}
	<-done
}
