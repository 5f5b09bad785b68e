//go:build !linux

package payload

func keepDescriptors() {}
