package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// AdminOff as an Admin's Address says that the host serves nothing.
const AdminOff = "off"

// adminUnix begins an address that is a socket file.
const adminUnix = "unix:"

// Admin is the admin block: where the host answers those who look after it.
type Admin struct {
	Address string `config:"address" default:"unix:admin.sock in the host's state_dir" doc:"Where the host serves /healthz, /readyz, /metrics and /status over HTTP: \"HOST:PORT\", \"unix:FILE\", or \"off\". It asks nobody who they are: keep it on loopback, or on a socket file, which only the host's user can use."`
}

// Validate reports an address that cannot be one.
func (a *Admin) Validate() error {
	if a.Address == "" || a.Address == AdminOff {
		return nil
	}
	if path, ok := strings.CutPrefix(a.Address, adminUnix); ok {
		if path == "" || strings.ContainsRune(path, 0) {
			return fmt.Errorf("address %q names no socket file; write \"unix:/run/leptir/admin.sock\"", short(a.Address))
		}
		return nil
	}
	host, port, err := net.SplitHostPort(a.Address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 || strings.ContainsAny(host, " /\x00") {
		return fmt.Errorf("address is %q; it can be \"127.0.0.1:9464\", \"unix:/run/leptir/admin.sock\" or \"off\"", short(a.Address))
	}
	return nil
}

// Socket returns the socket file of the address, "" if it is none.
func (a Admin) Socket() string {
	path, _ := strings.CutPrefix(a.Address, adminUnix)
	if path == a.Address {
		return ""
	}
	return path
}

// DefaultAdmin returns what holds for a host without an admin block.
func DefaultAdmin(h Host) Admin {
	return Admin{Address: adminUnix + filepath.Join(string(h.StateDir), "admin.sock")}
}

// admin reads the admin block, which need not be there. What is not said has the default
// that follows from the host block.
func (r *reader) admin(blocks []*hclsyntax.Block) {
	for i, block := range blocks {
		where := place{name: blockAdmin, at: block.DefRange()}
		if len(block.Labels) > 0 {
			r.errorf(block.LabelRanges[0], "the admin block takes no label")
		}
		if i > 0 {
			r.errorf(where.at, "there is a second admin block; the first is at line %d", blocks[0].TypeRange.Start.Line)
		}
		if r.decode(block.Body, where, &r.config.Admin) {
			r.validate(&r.config.Admin, where)
		}
	}
	a := &r.config.Admin
	switch path := a.Socket(); {
	case a.Address == "":
		*a = DefaultAdmin(r.config.Host)
	case path != "":
		a.Address = adminUnix + r.absolute(path)
	}
}
