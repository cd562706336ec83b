package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/host/pidfile"
	"github.com/backplane/leptir/host/presence"
)

// appear makes the host's pid files: that in its state folder, by which leptirctl finds it,
// and the one that was asked for, if any. Where that, or the only one of a host in the
// background, is another host's, this one must not start. Two hosts in the foreground may
// share a state folder. What is worth telling is returned.
func (p *program) appear(explicit string) (news []string, err error) {
	if explicit != "" {
		if explicit, err = filepath.Abs(explicit); err != nil {
			return nil, err
		}
		stale, err := p.present.Appear(explicit)
		if err != nil {
			return nil, refusal(explicit, err)
		}
		news = append(news, cleaned(explicit, stale)...)
	}
	state := string(p.cfg.Host.StateDir)
	usual := filepath.Join(state, presence.PidFile)
	if usual == explicit {
		return news, nil
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return news, nil // the host cannot do without this folder either, and says so
	}
	stale, err := p.present.Appear(usual)
	running, other := errors.AsType[*pidfile.RunningError](err)
	switch {
	case other && explicit == "" && p.parent != nil:
		return nil, refusal(usual, err)
	case other:
		return append(news, fmt.Sprintf("the pid file in the state folder is that of another host, process %d; leptirctl finds this one by -pid only", running.PID)), nil
	case err != nil:
		return append(news, fmt.Sprintf("leptirctl will not find this host: %v", err)), nil
	}
	return append(news, cleaned(usual, stale)...), nil
}

// refusal says what to do about a pid file that cannot be had.
func refusal(path string, err error) error {
	if running, ok := errors.AsType[*pidfile.RunningError](err); ok {
		return fmt.Errorf("the host runs already, as process %d (pid file %s); stop it with: leptirctl stop -pid %s", running.PID, path, path)
	}
	return err
}

func cleaned(path string, stale int) []string {
	if stale == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the pid file %s was left by process %d, which does not run any more", path, stale)}
}

// say says what the host is doing from now on.
func (p *program) say(state string) {
	p.status.State, p.status.Since = state, time.Now().UTC()
	p.write()
}

// sayTasks says how many tasks a host that stops still waits for.
func (p *program) sayTasks() {
	running, _ := p.host.Running()
	if running == p.status.Tasks {
		return
	}
	p.status.Tasks = running
	p.write()
	p.notify.send(fmt.Sprintf("STATUS=stopping, %d tasks still run", running))
}

func (p *program) write() {
	if err := p.present.Say(p.status); err != nil {
		p.logs.logger.Warn("leptirctl will not know what this host does", "error", err)
	}
}
