// Package kmod knows the files that depmod writes and how modules are named.
// PID 1 and the image builder read them: the one to load drivers, the other to
// choose what goes into the image.
//
// Both files are text from a distribution's package, or from whoever put the
// directory together. A path in them is used only when it stays below the
// directory, lib/modules/VERSION, and names a module; a line is bounded. The
// package opens nothing: callers do, and add the file's name to an error.
package kmod
