package payload

import (
	"io/fs"
	"syscall"
)

// mayExecute applies the permission bits for a user without further groups. Root
// may execute what anybody may.
func mayExecute(info fs.FileInfo, uid, gid uint32) bool {
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || uid == 0:
		return true
	case stat.Uid == uid:
		return mode&0o100 != 0
	case stat.Gid == gid:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
