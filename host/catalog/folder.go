package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxPlugins bounds the executable files of a plugin folder. Each gets started: a folder
// with more is another one, given by mistake, for example /usr/bin.
const maxPlugins = 250

// fingerprint tells the contents of a file at two moments apart without reading it. The
// change time cannot be set back, so a file with the same fingerprint has not been
// written to.
type fingerprint struct {
	target       string // the file itself, links resolved
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// found is one file of the plugin folder that is a plugin or should be one.
type found struct {
	name  string
	print fingerprint
	// refusal says why the file may not be started; empty if it may.
	refusal string
}

// changed returns when the file's contents, owner or permissions last changed.
func (f *found) changed() time.Time { return time.Unix(f.print.ctime.Unix()) }

// folder reads a plugin folder.
type folder struct {
	path string
	uid  uint32 // the host's user
}

// list returns the plugins of the folder by name, and the folder's own device and inode.
// An error says what is wrong with the folder; a file that has something wrong with it is
// listed with a refusal.
func (d *folder) list() ([]found, [2]uint64, error) {
	fi, err := os.Stat(d.path)
	if err != nil {
		return nil, [2]uint64{}, d.explain(err)
	}
	if !fi.IsDir() {
		return nil, [2]uint64{}, fmt.Errorf("plugin folder %q is not a folder; set plugin_dir in host {}", d.path)
	}
	st := fi.Sys().(*syscall.Stat_t)
	if why := distrust(d.path, st, d.uid); why != "" {
		return nil, [2]uint64{}, fmt.Errorf("plugin folder %s", why)
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, [2]uint64{}, d.explain(err)
	}
	var list []found
	plugins := 0
	for _, e := range entries {
		if ignored(e.Name()) || e.IsDir() {
			continue
		}
		f, ok := d.look(e.Name())
		if !ok {
			continue
		}
		if f.refusal == "" {
			plugins++
		}
		list = append(list, f)
	}
	if plugins > maxPlugins {
		return nil, [2]uint64{}, fmt.Errorf("plugin folder %q holds %d executable files, at most %d are allowed; is it the folder of leptir's plugins?", d.path, plugins, maxPlugins)
	}
	return list, [2]uint64{st.Dev, st.Ino}, nil
}

// explain turns an error of reading the folder into one that says what to do.
func (d *folder) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("plugin folder %q does not exist; create it or set plugin_dir in host {}", d.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("plugin folder %q cannot be read by the host's user (%d): %w", d.path, d.uid, errors.Unwrap(err))
	}
	return fmt.Errorf("plugin folder %q: %w", d.path, err)
}

// look examines one file. It is not ok if the file is none of ours, or gone.
func (d *folder) look(name string) (f found, ok bool) {
	f.name = name
	path := filepath.Join(d.path, name)
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		if _, lerr := os.Lstat(path); lerr != nil {
			return f, false // removed just now
		}
		f.print.target = path
		f.refusal = fmt.Sprintf("it is a symbolic link that cannot be followed: %v", err)
		return f, true
	}
	fi, err := os.Lstat(target)
	if err != nil || !fi.Mode().IsRegular() {
		return f, false
	}
	st := fi.Sys().(*syscall.Stat_t)
	f.print = fingerprint{target: target, dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	if fi.Mode()&0o111 == 0 {
		if isData(name) {
			return f, false
		}
		f.refusal = fmt.Sprintf("it is not executable; if it is a plugin, run: chmod +x %q", target)
		return f, true
	}
	if !printable(name) {
		f.refusal = "its name holds characters that cannot be shown; rename it"
		return f, true
	}
	if why := distrust(target, st, d.uid); why != "" {
		f.refusal = "its file " + why
		return f, true
	}
	if parent := filepath.Dir(target); parent != filepath.Clean(d.path) {
		pi, err := os.Stat(parent)
		if err != nil {
			return f, false
		}
		if why := distrust(parent, pi.Sys().(*syscall.Stat_t), d.uid); why != "" {
			f.refusal = "the folder of its file, " + why
		}
	}
	return f, true
}

// distrust says why somebody else than root and the user uid could change what a file
// or folder holds; it is empty if nobody could. A group with the number of the user is
// taken for the user's private one: many systems let that group write by default.
func distrust(path string, st *syscall.Stat_t, uid uint32) string {
	own := st.Uid == uid && uid != 0 && st.Gid == st.Uid
	switch {
	case st.Uid != 0 && st.Uid != uid:
		return fmt.Sprintf("%q belongs to user %d, who is neither root nor the host's user; run: chown %d %q", path, st.Uid, uid, path)
	case st.Mode&0o002 != 0:
		return fmt.Sprintf("%q can be written by everybody, who could make the host run anything; run: chmod go-w %q", path, path)
	case st.Mode&0o020 != 0 && !own:
		return fmt.Sprintf("%q can be written by group %d, who could make the host run anything; run: chmod go-w %q", path, st.Gid, path)
	}
	return ""
}

// ignored reports whether a file of that name is none of the catalog's business: hidden,
// a backup, or on its way here under another name.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		slices.Contains([]string{".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp"}, filepath.Ext(name))
}

// isData reports whether a file of that name that is not executable is not meant to be.
func isData(name string) bool {
	return slices.Contains([]string{".md", ".txt", ".hcl", ".json", ".yaml", ".yml", ".toml", ".conf", ".cfg", ".env",
		".sha256", ".sha256sum", ".sum", ".sig", ".asc", ".pem", ".log", ".html", ".bak", ".old"}, strings.ToLower(filepath.Ext(name)))
}

func printable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}
