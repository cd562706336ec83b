package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock's versions ("ABI") that add what is used here.
const (
	landlockTruncate = 3
	landlockSignals  = 6 // Linux 6.12: signals can be scoped
)

// landlockABI returns the kernel's version of Landlock, 0 where there is none.
func landlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

const (
	accessRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// accessFile are the rights that a rule about a file, not a folder, may have.
	accessFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// handledAccess returns the rights to files that a version of Landlock knows.
func handledAccess(abi int) uint64 {
	access := uint64(1<<13 - 1) // up to LANDLOCK_ACCESS_FS_MAKE_SYM
	if abi >= 2 {
		access |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= landlockTruncate {
		access |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		access |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return access
}

// What any program needs to run at all: its libraries, the names of hosts and users, time
// zones, certificates; and the devices that are none.
var (
	neededToRead = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/timezone",
		"/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
		"/etc/passwd", "/etc/group", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/mime.types"}
	neededToWrite = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
)

// restrictThread puts the calling thread, and all that it starts from then on, into a
// Landlock domain of its own. Being in one alone keeps it from tracing, and from reading the
// memory and environment of, whatever is outside.
// extra are folders that the thread itself has to write in.
func restrictThread(abi int, l *Limits, binary, home string, extra ...string) error {
	attr := unix.LandlockRulesetAttr{}
	if l.ProtectHost && abi >= landlockSignals {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
	}
	switch {
	case l.files():
		attr.Handled_access_fs = handledAccess(abi)
	case attr.Scoped == 0:
		// A domain must forbid something; nobody misses this.
		attr.Handled_access_fs = unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("landlock: make a rule set: %w", errno)
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	if l.files() {
		if err := addRules(ruleset, attr.Handled_access_fs, l, binary, home, extra); err != nil {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

func addRules(ruleset int, handled uint64, l *Limits, binary, home string, extra []string) error {
	write := handled &^ uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE)
	for _, path := range neededToRead {
		if err := addRule(ruleset, path, accessRead, handled, false); err != nil {
			return err
		}
	}
	for _, path := range slices.Concat(neededToWrite, extra) {
		if err := addRule(ruleset, path, write, handled, false); err != nil {
			return err
		}
	}
	if err := addRule(ruleset, binary, accessRead, handled, true); err != nil {
		return err
	}
	if err := addRule(ruleset, home, write, handled, true); err != nil {
		return err
	}
	for _, path := range l.PathsRead {
		if err := addRule(ruleset, path, accessRead, handled, true); err != nil {
			return fmt.Errorf("paths_read: %w", err)
		}
	}
	for _, path := range l.PathsWrite {
		if err := addRule(ruleset, path, write, handled, true); err != nil {
			return fmt.Errorf("paths_write: %w", err)
		}
	}
	return nil
}

// addRule allows access to a path and what is below it. One that is not there is an error
// only if it must be there.
func addRule(ruleset int, path string, access, handled uint64, must bool) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		if !must && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES)) {
			return nil
		}
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= accessFile
	}
	// Of packed layout in the kernel's header: 12 bytes, which is how it is read.
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access & handled, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "landlock: allow", Path: path, Err: errno}
	}
	return nil
}
