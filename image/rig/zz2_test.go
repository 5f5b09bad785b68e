package rig_test
import "xvsock/image"
func xt(s string) image.DomainType { return image.DomainType(s) }
