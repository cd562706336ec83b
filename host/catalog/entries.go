package catalog

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// keptGood is how many earlier good binaries of a plugin can be fallen back on
	// without a probe.
	keptGood = 2
	// firstRetry is when a binary that failed is tried again; the time doubles with each
	// failure up to lastRetry.
	firstRetry = 10 * time.Second
	lastRetry  = 5 * time.Minute
)

// binary is a copy that was probed and does.
type binary struct {
	sum, staged string
	description
}

// entry is what the catalog knows of one name in the plugin folder.
type entry struct {
	name string
	// file is the file as it was last seen, missing since when it is not there any more,
	// judged the fingerprint of the last one that a verdict was reached on.
	file    found
	missing time.Time
	judged  fingerprint
	// notBefore is when file may be judged: it is given time to settle.
	notBefore time.Time
	writing   bool // somebody has file open for writing
	busy      bool // a job is under way

	served     *binary
	generation int
	good       []*binary // served before, the latest last

	// About the file's contents, once judged: their sum, if they did, why they are not
	// served, how often they failed to start or were rejected, and when to try again.
	sum      string
	problem  string
	failures int
	rejected bool
	retryAt  time.Time

	seekEarlier bool // nothing is served: look for an earlier copy in the stage
	sought      bool // that has been done, in vain
}

// job is work on an entry that takes long.
type job struct {
	entry *entry
	file  found
	// earlier: find an earlier copy that does, other than the sum not; else judge the file.
	earlier bool
	// known is the sum that need not be probed, because it is served.
	known string
}

// verdict is what came of a job. Where err is nil, binary is set, or sum is what was known
// (judging), or there is no earlier copy (earlier).
type verdict struct {
	binary *binary
	sum    string
	err    error
}

// entries is the catalog's state. It does no I/O, and is not safe for concurrent use.
type entries struct {
	settle  time.Duration
	byName  map[string]*entry
	owners  map[string]string // type to the name of the plugin that runs it
	counts  map[string]int    // generations so far, also of names that are gone
	trouble string            // with the folder
	first   bool              // the first scan's plugins are not all judged
	dirty   bool              // something that a snapshot shows, or quiet, may have changed
}

func newEntries(settle time.Duration) *entries {
	return &entries{settle: settle, byName: map[string]*entry{}, owners: map[string]string{}, counts: map[string]int{}, first: true}
}

// observe takes note of what the folder holds now.
func (s *entries) observe(list []found, now time.Time) {
	s.dirty = s.dirty || s.trouble != ""
	s.trouble = ""
	seen := make(map[string]bool, len(list))
	for _, f := range list {
		seen[f.name] = true
		e := s.byName[f.name]
		if e == nil {
			e = &entry{name: f.name}
			s.byName[f.name] = e
		}
		if f != e.file || !e.missing.IsZero() {
			e.see(f, s.settle, now)
			s.dirty = true
		}
	}
	maps.DeleteFunc(s.byName, func(name string, e *entry) bool {
		switch {
		case seen[name]:
			return false
		case e.missing.IsZero():
			e.missing = now // many tools replace a file by removing it first
		}
		gone := now.Sub(e.missing) >= s.settle
		s.dirty = s.dirty || gone
		return gone
	})
}

// see takes note of the entry's file as it is now.
func (e *entry) see(f found, settle time.Duration, now time.Time) {
	e.missing = time.Time{}
	if e.writing && f.print != e.file.print || e.file.refusal != "" && f.refusal == "" {
		e.problem = ""
	}
	if f.print != e.file.print {
		// What has not changed for long, where clocks are right, need not settle.
		rest := min(max(settle-now.Sub(f.changed()), 0), settle)
		e.notBefore = now.Add(rest)
		e.failures, e.rejected, e.retryAt, e.writing = 0, false, time.Time{}, false
	}
	e.file = f
	if f.refusal != "" {
		e.problem = clean(f.refusal, maxProblemBytes)
		e.judged = fingerprint{} // to be judged once it is not refused any more
	}
}

// unreadable takes note that the folder cannot be read: all stays as it was.
func (s *entries) unreadable(err error) {
	s.dirty = s.dirty || s.trouble != err.Error()
	s.trouble = err.Error()
}

// unjudged reports whether the entry's file is new.
func (e *entry) unjudged() bool {
	return e.missing.IsZero() && e.file.refusal == "" && e.file.print != e.judged
}

// retryable reports whether the entry's file is to be tried again at retryAt. One that
// came up and was rejected later is only if there is nothing better.
func (e *entry) retryable() bool {
	return e.missing.IsZero() && e.file.refusal == "" && e.file.print == e.judged &&
		!e.retryAt.IsZero() && (!e.rejected || e.served == nil)
}

// due returns the jobs that are to be done now; done must be told of each.
func (s *entries) due(now time.Time) []job {
	var jobs []job
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		e := s.byName[name]
		j := job{entry: e, file: e.file}
		switch {
		case e.busy:
			continue
		case e.seekEarlier:
			e.seekEarlier, e.sought, j.earlier = false, true, true
		case e.unjudged() && !now.Before(e.notBefore), e.retryable() && !now.Before(e.retryAt):
			if e.served != nil {
				j.known = e.served.sum
			}
		default:
			continue
		}
		e.busy = true
		jobs = append(jobs, j)
	}
	return jobs
}

// next returns when something will be due; zero if nothing will by itself.
func (s *entries) next() time.Time {
	var next time.Time
	for _, e := range s.byName {
		var at time.Time
		switch {
		case !e.missing.IsZero():
			at = e.missing.Add(s.settle)
		case e.busy:
		case e.unjudged():
			at = e.notBefore
		case e.retryable():
			at = e.retryAt
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// quiet reports whether a verdict has been reached on all that the folder holds. A file
// that somebody is still writing to is not waited for.
func (s *entries) quiet() bool {
	for _, e := range s.byName {
		if e.busy || e.seekEarlier || e.unjudged() && !e.writing || !e.missing.IsZero() {
			return false
		}
	}
	return true
}

// done takes the verdict of a job. It returns the sums that the plugin still needs.
func (s *entries) done(j job, v verdict, now time.Time) (inUse []string) {
	e := j.entry
	e.busy = false
	s.dirty = true
	switch {
	case s.byName[e.name] != e:
		return nil // gone meanwhile
	case j.earlier:
		if v.binary != nil && e.served == nil {
			s.serve(e, v.binary)
		}
	case j.file.print != e.file.print, e.file.refusal != "":
		// About a file that is not there any more, or not like this.
	case v.err == errChanged, v.err == errBeingWritten:
		e.notBefore = now.Add(s.settle)
		if e.writing = v.err == errBeingWritten; e.writing {
			e.problem = v.err.Error()
		}
	case v.err != nil:
		e.judged, e.writing, e.sum = j.file.print, false, ""
		e.problem = clean(v.err.Error(), maxProblemBytes)
		e.failed(now)
	case v.binary == nil && (e.served == nil || e.served.sum != v.sum):
		e.judged = fingerprint{} // it was known, but rejected meanwhile: judge it afresh
	default:
		e.judged, e.writing, e.sum = j.file.print, false, v.sum
		e.problem, e.retryAt, e.rejected = "", time.Time{}, false
		if e.served == nil || e.served.sum != v.sum {
			s.serve(e, v.binary)
		}
	}
	return e.inUse()
}

// failed arranges what follows on a failure of the file's contents.
func (e *entry) failed(now time.Time) {
	e.retryAt = now.Add(min(firstRetry<<min(e.failures, 10), lastRetry))
	e.failures++
	e.seekEarlier = e.served == nil && !e.sought
}

// serve makes b what is served.
func (s *entries) serve(e *entry, b *binary) {
	if e.served != nil {
		e.good = append(e.good, e.served)
	}
	e.good = slices.DeleteFunc(e.good, func(g *binary) bool { return g.sum == b.sum })
	e.good = e.good[max(0, len(e.good)-keptGood):]
	s.counts[e.name]++
	e.served, e.generation, e.sought = b, s.counts[e.name], false
}

// inUse returns the sums of what is served and what could be fallen back on.
func (e *entry) inUse() []string {
	var sums []string
	if e.served != nil {
		sums = append(sums, e.served.sum)
	}
	for _, g := range e.good {
		sums = append(sums, g.sum)
	}
	return sums
}

// reject stops serving the binary with that sum, if it is what the plugin serves.
func (s *entries) reject(name, sum, problem string, now time.Time) {
	e := s.byName[name]
	if e == nil || e.served == nil || e.served.sum != sum {
		return
	}
	s.dirty = true
	e.served = nil
	if n := len(e.good); n > 0 {
		last := e.good[n-1]
		e.good = e.good[:n-1]
		s.serve(e, last)
	}
	if sum == e.sum {
		e.problem, e.rejected = clean(problem, maxProblemBytes), true
		e.failed(now)
		return
	}
	// An earlier binary, that was fallen back on.
	e.problem = clean(e.problem+"; an earlier one: "+problem, maxProblemBytes)
	e.seekEarlier = e.served == nil && !e.sought
}

// binaryID names a binary of a plugin.
type binaryID struct{ name, sum string }

// held returns what is served and what could be fallen back on.
func (s *entries) held() (all []binaryID) {
	for name, e := range s.byName {
		for _, sum := range e.inUse() {
			all = append(all, binaryID{name, sum})
		}
	}
	return all
}

// reconsider forgets all verdicts, and stops serving what is refused.
func (s *entries) reconsider(refused map[binaryID]error) {
	s.dirty = true
	for name, e := range s.byName {
		e.judged, e.failures, e.rejected, e.retryAt, e.sought = fingerprint{}, 0, false, time.Time{}, false
		e.good = slices.DeleteFunc(e.good, func(b *binary) bool { return refused[binaryID{name, b.sum}] != nil })
		if e.served == nil {
			continue
		}
		if err := refused[binaryID{name, e.served.sum}]; err != nil {
			e.served, e.problem = nil, clean(err.Error(), maxProblemBytes)
		}
	}
}

// snapshot returns the state as others see it. dir is the plugin folder, prev the snapshot
// before.
func (s *entries) snapshot(dir string, prev *Snapshot, now time.Time) *Snapshot {
	s.dirty = false
	s.assign()
	plugins := make([]Plugin, 0, len(s.byName))
	for name, e := range s.byName {
		p := Plugin{Name: name, Path: filepath.Join(dir, name), Problem: e.problem, Since: now}
		if !printable(name) {
			p.Name = strconv.Quote(name)
		}
		if e.file.refusal != "" || e.file.print == e.judged {
			p.verdict = e.file.print
		}
		switch {
		case e.served != nil:
			s.fill(&p, e)
		case e.file.refusal != "":
			p.Status = StatusRefused
		case e.problem != "" && !e.writing:
			p.Status = StatusBroken
		default:
			p.Status = StatusProbing
		}
		if old, ok := prev.Plugin(p.Name); ok && old.same(&p) {
			p.Since = old.Since
		}
		plugins = append(plugins, p)
	}
	snap := NewSnapshot(plugins)
	snap.Problem = s.trouble
	return snap
}

// fill sets what a plugin's served binary determines.
func (s *entries) fill(p *Plugin, e *entry) {
	b := e.served
	p.Status, p.Staged, p.SHA256, p.Generation = StatusReady, b.staged, b.sum, e.generation
	p.ErrorReporter = b.errorReporter
	p.Version, p.Commit, p.SDKVersion = b.version, b.commit, b.sdkVersion
	var problems []string
	if e.problem != "" {
		problems = append(problems, "the file in the plugin folder is not served, an earlier binary is: "+e.problem)
	}
	p.Types = slices.Clone(b.types)
	for i := range p.Types {
		t := &p.Types[i]
		if owner := s.owners[t.Name]; owner != e.name {
			t.ServedBy = owner
			p.Status = StatusConflict
			problems = append(problems, fmt.Sprintf("plugin %q serves task type %q already", owner, t.Name))
		}
	}
	p.Problem = clean(strings.Join(problems, "; "), maxProblemBytes)
}

// assign settles who runs which type: who does keeps it, else the first by name. Until
// the plugins of the first scan are all judged the first by name takes it anyway, so that
// a host's start does not depend on which of them answered first.
func (s *entries) assign() {
	if s.first {
		clear(s.owners)
		s.first = !s.quiet()
	}
	serves := func(e *entry, typ string) bool {
		if e == nil || e.served == nil {
			return false
		}
		_, ok := slices.BinarySearchFunc(e.served.types, typ, func(t Type, typ string) int { return strings.Compare(t.Name, typ) })
		return ok
	}
	maps.DeleteFunc(s.owners, func(typ, owner string) bool { return !serves(s.byName[owner], typ) })
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		if e := s.byName[name]; e.served != nil {
			for _, t := range e.served.types {
				if _, taken := s.owners[t.Name]; !taken {
					s.owners[t.Name] = name
				}
			}
		}
	}
}
