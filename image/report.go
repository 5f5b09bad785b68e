package image

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Report is what Build made.
type Report struct {
	// Output is the file written, Size its size in bytes, Unpacked the size of
	// the archive in it, and SHA256 the file's hash in hexadecimal.
	Output   string `json:"output"`
	Size     int64  `json:"size"`
	Unpacked int64  `json:"unpacked"`
	SHA256   string `json:"sha256"`
	// Version is the kernel release of the modules; empty without modules.
	Version string `json:"version"`
	// Modules are the paths of the modules in the image, relative to
	// lib/modules/VERSION, in the order in which they can be loaded.
	Modules []string `json:"modules"`
	// Builtin are the wanted modules that the kernel has built in.
	Builtin []string `json:"builtin"`
	// Items are what is in the image, but for directories, by kind and path;
	// Directories is how many of those there are.
	Items       []Item `json:"items"`
	Directories int    `json:"directories"`
	// Warnings are what may be meant, and may not.
	Warnings []Finding `json:"warnings"`
}

// Kind is what an Item is.
type Kind string

// The kinds, in the order of a report.
const (
	KindProgram Kind = "program" // an executable file
	KindModule  Kind = "module"
	KindFile    Kind = "file"
	KindLink    Kind = "link"
	KindDevice  Kind = "device" // or another special file
)

// Item is one thing in an image.
type Item struct {
	Kind Kind `json:"kind"`
	// Path is absolute.
	Path string `json:"path"`
	// Size is what its content takes in memory, in bytes. The image is
	// compressed as one, so nothing in it has a compressed size of its own.
	Size int64 `json:"size"`
	// Target is what a link stands for; else empty.
	Target string `json:"target,omitempty"`
}

// items lists what is in a tree, and counts its directories.
func items(t tree) (list []Item, directories int) {
	byKind := make(map[Kind][]Item)
	for _, name := range sortedNames(t) {
		n := t[name]
		item := Item{Path: "/" + name, Size: int64(len(n.data)), Kind: KindDevice}
		switch {
		case n.is(unix.S_IFDIR):
			directories++
			continue
		case n.is(unix.S_IFLNK):
			item.Kind, item.Target = KindLink, string(n.data)
		case !n.is(unix.S_IFREG):
		case strings.HasPrefix(name, "lib/modules/") && strings.HasSuffix(name, ".ko"):
			item.Kind = KindModule
		case n.executable():
			item.Kind = KindProgram
		default:
			item.Kind = KindFile
		}
		byKind[item.Kind] = append(byKind[item.Kind], item)
	}
	for _, kind := range []Kind{KindProgram, KindModule, KindFile, KindLink, KindDevice} {
		list = append(list, byKind[kind]...)
	}
	return list, directories
}

// sortedNames are the paths of a tree in order.
func sortedNames(t tree) []string { return slices.Sorted(maps.Keys(t)) }
