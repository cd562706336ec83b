package catalog

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// debounce is how long after a sign of change the folder is looked at: changes come in
// bunches.
const debounce = 50 * time.Millisecond

// run looks at the folder whenever something tells of a change, something is due, or the
// rescan interval is over, and starts the jobs that follow, until ctx ends.
func (c *Catalog) run(ctx context.Context) {
	w := watcher{dir: c.folder.path}
	defer w.close()
	if err := w.open(); err != nil {
		c.logger.Warn("cannot watch the plugin folder; changes are noticed by looking at it regularly",
			"folder", c.folder.path, "every", c.rescan, "error", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var asked chan error
		select {
		case <-ctx.Done():
			return
		case e := <-w.events():
			w.noticed(e)
			if !c.pause(ctx) {
				return
			}
			w.drain()
		case <-w.errors(): // an overflow: anything may have changed
		case <-c.kicks:
		case <-timer.C:
		case asked = <-c.scans:
		}
		err := c.scan(ctx, &w)
		if asked != nil {
			asked <- err
		}
		timer.Reset(c.untilNext())
	}
}

// pause waits for a bunch of changes to be over, and reports whether ctx still lives.
func (c *Catalog) pause(ctx context.Context) bool {
	t := time.NewTimer(debounce)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// kick asks for a scan soon.
func (c *Catalog) kick() {
	select {
	case c.kicks <- struct{}{}:
	default:
	}
}

// untilNext returns how long the loop may sleep.
func (c *Catalog) untilNext() time.Duration {
	c.mu.Lock()
	next := c.entries.next()
	c.mu.Unlock()
	if next.IsZero() {
		return c.rescan
	}
	return min(max(time.Until(next), time.Millisecond), c.rescan)
}

// scan looks at the folder and starts what is due. A folder that cannot be read says
// nothing about its plugins: they stay as they were.
func (c *Catalog) scan(ctx context.Context, w *watcher) error {
	list, id, err := c.folder.list()
	if err != nil {
		w.lost()
		c.change(func(time.Time) { c.entries.unreadable(err) })
		return err
	}
	if w.follow(id) {
		c.kick() // for what has changed before the watch began
	}
	var jobs []job
	c.change(func(now time.Time) {
		c.entries.observe(list, now)
		jobs = c.entries.due(now)
	})
	for _, j := range jobs {
		c.wg.Go(func() { c.work(ctx, j) })
	}
	return nil
}

// work does one job.
func (c *Catalog) work(ctx context.Context, j job) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-c.slots }()
	tell := func(v verdict) {
		if ctx.Err() != nil {
			return // whatever it is, it is because of that
		}
		var inUse []string
		c.change(func(now time.Time) { inUse = c.entries.done(j, v, now) })
		if v.binary != nil && inUse != nil {
			c.stage.prune(j.entry.name, inUse)
		}
		c.kick()
	}
	if j.earlier {
		tell(c.findEarlier(ctx, j.entry.name))
		return
	}
	c.judge(ctx, j, tell)
}

// judge copies a file and probes the copy.
func (c *Catalog) judge(ctx context.Context, j job, tell func(verdict)) {
	name := j.entry.name
	path, sum, err := c.stage.add(&j.file)
	if err == nil {
		err = c.allow(name, sum)
	}
	if err != nil || sum == j.known {
		tell(verdict{sum: sum, err: err})
		return
	}
	c.prober.probe(ctx, name, path, func(d description, err error) {
		if f, ok := c.folder.look(name); !ok || f.print != j.file.print {
			err = errChanged // it was not complete after all
		}
		if err != nil {
			if ctx.Err() == nil {
				c.stage.demote(path)
			}
			tell(verdict{sum: sum, err: err})
			return
		}
		tell(verdict{sum: sum, binary: &binary{sum: sum, staged: path, description: d}})
	})
}

// findEarlier looks for a copy of an earlier binary that still does.
func (c *Catalog) findEarlier(ctx context.Context, name string) (v verdict) {
	for _, copied := range c.stage.earlier(name) {
		if c.allow(name, copied.sum) != nil {
			continue
		}
		c.prober.probe(ctx, name, copied.path, func(d description, err error) {
			if err == nil {
				v.binary = &binary{sum: copied.sum, staged: copied.path, description: d}
			}
		})
		if v.binary != nil {
			break
		}
	}
	return v
}

// watcher hears of changes in the plugin folder from the kernel. It is only a hint: the
// folder is looked at regularly anyway.
type watcher struct {
	dir     string
	notify  *fsnotify.Watcher // nil: there is none
	watched [2]uint64         // device and inode of the folder that is watched; zero: none
}

func (w *watcher) open() (err error) {
	w.notify, err = fsnotify.NewWatcher()
	return err
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// noticed takes note of an event. One about the folder itself means that it may be
// another from now on.
func (w *watcher) noticed(e fsnotify.Event) {
	if e.Name == w.dir && e.Has(fsnotify.Remove|fsnotify.Rename) {
		w.lost()
	}
}

// drain takes the events that are waiting.
func (w *watcher) drain() {
	for {
		select {
		case e := <-w.events():
			w.noticed(e)
		default:
			return
		}
	}
}

// lost drops the watch.
func (w *watcher) lost() {
	if w.notify != nil && w.watched != [2]uint64{} {
		_ = w.notify.Remove(w.dir) // fails where the kernel has dropped it already
	}
	w.watched = [2]uint64{}
}

// follow watches the folder with that device and inode, which is at the path now, and
// reports whether it was not watched before.
func (w *watcher) follow(id [2]uint64) bool {
	if w.notify == nil || w.watched == id {
		return false
	}
	w.lost()
	if w.notify.Add(w.dir) != nil {
		return false
	}
	w.watched = id
	return true
}
