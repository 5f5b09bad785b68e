package services

import (
	"errors"
	"slices"
	"syscall"
)

// Shortage reports whether an error says that this process, or its domain, is out of
// descriptors, memory or processes for the moment. Whoever others can bring into one
// fails in what it does for them, and goes on.
func Shortage(err error) bool {
	return slices.ContainsFunc([]error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN,
	}, func(e error) bool { return errors.Is(err, e) })
}
