package main

import (
	"os"
	"path/filepath"

	"xvsock/image/rig/wire"
)

// file is a file that the rig sends. It is written beside its name and
// renamed, so that a program which is running can be replaced.
type file struct {
	a    *agent
	id   uint32
	put  wire.Put
	f    *os.File
	err  error
	over bool
}

func (a *agent) startFile(id uint32, put wire.Put) {
	f := &file{a: a, id: id, put: put}
	a.open(id, f)
	if f.err = os.MkdirAll(filepath.Dir(put.Path), 0o755); f.err != nil {
		return
	}
	f.f, f.err = os.OpenFile(put.Path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// input writes the next piece. Files go to memory (a tmpfs), so a write does
// not block.
func (f *file) input(data []byte) {
	switch {
	case f.over:
	case len(data) == 0:
		f.finish()
	case f.err == nil:
		_, f.err = f.f.Write(data)
	}
}

func (f *file) finish() {
	f.over = true
	if f.f != nil {
		if err := f.f.Close(); f.err == nil {
			f.err = err
		}
	}
	part := f.put.Path + ".part"
	if f.err == nil {
		f.err = os.Chmod(part, os.FileMode(f.put.Mode&0o7777))
	}
	if f.err == nil {
		f.err = os.Rename(part, f.put.Path)
	}
	if f.err != nil {
		_ = os.Remove(part)
		f.a.close(f.id, wire.Exit{Code: 1, Error: f.err.Error()})
		return
	}
	f.a.close(f.id, wire.Exit{})
}

func (f *file) signal(wire.Signal) {}
