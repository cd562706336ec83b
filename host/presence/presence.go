// Package presence owns how a running host is found from outside, without a network: its
// pid files, and beside each a small file that says what the host is doing. The host writes
// them, leptirctl reads them. What a host does, the package does not know.
package presence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backplane/leptir/host/pidfile"
)

// PidFile is the name of a host's pid file in its state folder.
const PidFile = "leptir-host.pid"

// What a State can be.
const (
	Starting  = "starting"
	Running   = "running"
	Reloading = "reloading"
	Stopping  = "stopping"
)

// Status is what a host says of itself.
type Status struct {
	// PID is the host's process: what another has left does not count.
	PID int `json:"pid"`
	// State is Starting, Running, Reloading or Stopping, since Since.
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	Config  string    `json:"config"`
	// Tasks is how many tasks run while the host is Stopping.
	Tasks int `json:"tasks"`
	// Reloads is how many reloads have begun; Reload is the last one that has ended.
	Reloads int    `json:"reloads"`
	Reload  Reload `json:"reload"`
}

// Reload is what came of a reload.
type Reload struct {
	// Number counts from 1; 0 is none.
	Number int  `json:"number"`
	Failed bool `json:"failed"`
	// Lines say what has changed, or what is wrong.
	Lines []string `json:"lines"`
}

// StatusPath returns the path of the file beside a pid file.
func StatusPath(pidPath string) string { return strings.TrimSuffix(pidPath, ".pid") + ".status" }

// maxStatus is the size of the largest such file that is read.
const maxStatus = 1 << 20

// ReadStatus returns what the host whose pid file lies at pidPath says, if it is the process
// that id names.
func ReadStatus(pidPath string, id pidfile.Identity) (Status, error) {
	path := StatusPath(pidPath)
	file, err := os.Open(path)
	if err != nil {
		return Status{}, fmt.Errorf("what the host says: %w", err)
	}
	defer file.Close()
	var s Status
	if err := json.NewDecoder(io.LimitReader(file, maxStatus)).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("what the host says in %s: %w", path, err)
	}
	if s.PID != id.PID {
		return Status{}, fmt.Errorf("what stands in %s is of another host, process %d", path, s.PID)
	}
	return s, nil
}

// Presence is this process's own: its pid files and what stands beside them. It is for one
// goroutine at a time.
type Presence struct {
	files []*pidfile.File
	paths []string
}

// Appear makes the file at path a pid file of this process. See pidfile.Acquire for the
// errors and for stale.
func (p *Presence) Appear(path string) (stale int, err error) {
	f, stale, err := pidfile.Acquire(path)
	if err != nil {
		return 0, err
	}
	p.files, p.paths = append(p.files, f), append(p.paths, path)
	return stale, nil
}

// Paths returns the paths of the pid files.
func (p *Presence) Paths() []string { return p.paths }

// Say writes what the host is doing beside every pid file.
func (p *Presence) Say(s Status) error {
	s.PID = os.Getpid()
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("say what the host does: %w", err)
	}
	var errs []error
	for _, path := range p.paths {
		if err := replace(StatusPath(path), text); err != nil {
			errs = append(errs, fmt.Errorf("say what the host does: %w", err))
		}
	}
	return errors.Join(errs...)
}

// replace puts a file in the place of that at path, so that readers find one or the other.
func replace(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // what is left of it is nobody's
	}
	return err
}

// Leave removes the pid files and what stands beside them.
func (p *Presence) Leave() error {
	var errs []error
	for i, f := range p.files {
		if err := os.Remove(StatusPath(p.paths[i])); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		errs = append(errs, f.Release())
	}
	p.files, p.paths = nil, nil
	return errors.Join(errs...)
}
