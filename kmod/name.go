package kmod

import (
	"path"
	"strings"
)

// Canonical returns the form in which names of modules are compared: file names
// use hyphens and underscores at will, the kernel knows underscores only.
func Canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// IsName reports whether s, spelt with - or _, can be the name of a module.
func IsName(s string) bool {
	for _, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, ".")
}

// NameOf returns the canonical name of the module in file, which is a path
// relative to the modules directory. It is "" when file is not a clean path
// below that directory, or not that of a module.
func NameOf(file string) string {
	if file == "" || path.IsAbs(file) || path.Clean(file) != file || strings.HasPrefix(file, "../") ||
		strings.ContainsAny(file, " \t\r\n:\\") {
		return ""
	}
	name, _, ok := CutSuffix(path.Base(file))
	if !ok || !IsName(name) {
		return ""
	}
	return Canonical(name)
}

// CutSuffix splits the file name of a module into what stands before .ko and
// the form of compression: "", "gz", "xz" or "zst", those that the kernel's own
// modules_install makes. It is not ok when nothing stands before, or there is
// no such suffix. Folders before the name stay.
func CutSuffix(file string) (name, compression string, ok bool) {
	for _, form := range []string{"", "gz", "xz", "zst"} {
		suffix := ".ko"
		if form != "" {
			suffix += "." + form
		}
		if name, ok = strings.CutSuffix(file, suffix); ok {
			return name, form, name != ""
		}
	}
	return "", "", false
}

// Precedes reports whether a is the file that counts, of two files a and b with
// one module's name: the one under updates/, as with depmod's default search
// order, else the first by path.
func Precedes(a, b string) bool {
	updateA, updateB := strings.HasPrefix(a, "updates/"), strings.HasPrefix(b, "updates/")
	if updateA != updateB {
		return updateA
	}
	return a < b
}
