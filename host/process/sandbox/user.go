package sandbox

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// Identity is the user that a process runs as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
	// Name and Home are empty where the system does not know the user.
	Name, Home string
}

// LookupUser finds the user that RunAs names: a name or a number, and after a colon, if
// another than the user's own is wanted, a group.
func LookupUser(runAs string) (*Identity, error) {
	name, group, hasGroup := strings.Cut(runAs, ":")
	id := &Identity{}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err == nil {
		id.Name, id.Home = u.Username, u.HomeDir
		if id.UID, err = number(u.Uid); err != nil {
			return nil, err
		}
		if id.GID, err = number(u.Gid); err != nil {
			return nil, err
		}
		groups, _ := u.GroupIds() // those of a user without an entry are none
		for _, g := range groups {
			if n, err := number(g); err == nil {
				id.Groups = append(id.Groups, n)
			}
		}
	} else {
		if id.UID, err = number(name); err != nil || !hasGroup {
			return nil, fmt.Errorf("run_as: there is no user %q on this machine", name)
		}
	}
	if !hasGroup {
		return id, nil
	}
	g, err := user.LookupGroup(group)
	if err == nil {
		group = g.Gid
	}
	if id.GID, err = number(group); err != nil {
		return nil, fmt.Errorf("run_as: there is no group %q on this machine", group)
	}
	id.Groups = nil // a group that is spelled out is the only one
	return id, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 { // -1: "leave as it is"
		err = strconv.ErrRange
	}
	return uint32(n), err
}

func (id *Identity) credential() *syscall.Credential {
	return &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
}
