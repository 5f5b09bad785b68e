package grant

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"xvsock/internal/sys"
	"xvsock/xen"
)

// Config says where the kernel's devices are. The zero Config is right on every
// system; tests set its fields.
type Config struct {
	Gntalloc  string      // default /dev/xen/gntalloc
	Gntdev    string      // default /dev/xen/gntdev
	Limit     string      // default sys.GntallocLimit
	GuestType string      // default /sys/hypervisor/guest_type
	Record    *sys.Record // if not nil, records what is held
}

// Kernel is the Device of the domain that this program runs in, over
// /dev/xen/gntalloc and /dev/xen/gntdev.
//
// Mappings are foreign memory, and after a restore the first access to one
// raises SIGBUS: goroutines that touch a mapping run with
// debug.SetPanicOnFault. So it is in a PV domain, and there alone is mapped (Map).
// Pages of our own survive a restore, their grants do not.
type Kernel struct {
	sharing  allocator
	mapping  mapDevice
	gntalloc *sys.FD
	gntdev   *sys.FD
	limit    string
	faults   bool // a mapping of before a restore does
}

var _ Device = (*Kernel)(nil)

// Open opens both devices. Where one is missing the error wraps os.ErrNotExist
// and names the kernel module to load; its text serves as the reason for
// skipping a test.
func Open(config Config) (*Kernel, error) {
	if size := os.Getpagesize(); size != xen.PageSize {
		return nil, fmt.Errorf("grants need a kernel with pages of %d bytes, this one has %d: %w",
			xen.PageSize, size, errors.ErrUnsupported)
	}
	gntalloc, err := sys.OpenDevice(withDefault(config.Gntalloc, "/dev/xen/gntalloc"), "xen-gntalloc", config.Record)
	if err != nil {
		return nil, err
	}
	gntdev, err := sys.OpenDevice(withDefault(config.Gntdev, "/dev/xen/gntdev"), "xen-gntdev", config.Record)
	if err != nil {
		return nil, errors.Join(err, gntalloc.Close())
	}
	return &Kernel{
		sharing:  gntallocDevice{gntalloc},
		mapping:  gntdevDevice{gntdev},
		gntalloc: gntalloc,
		gntdev:   gntdev,
		limit:    withDefault(config.Limit, sys.GntallocLimit),
		faults:   isPV(withDefault(config.GuestType, "/sys/hypervisor/guest_type")),
	}, nil
}

// isPV reports whether the kernel says so of this domain.
func isPV(path string) bool {
	kind, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(kind)) == "PV"
}

func withDefault(path, standard string) string {
	if path == "" {
		return standard
	}
	return path
}

// Close closes the devices. Pages and Mappings that are left stay readable until
// their Revoke or Unmap, which then still end them. A second call does nothing.
func (k *Kernel) Close() error {
	return errors.Join(k.gntalloc.Close(), k.gntdev.Close())
}

// Limit returns how many pages all processes of this domain together may have
// granted through gntalloc.
func (k *Kernel) Limit() (int, error) {
	limit, err := sys.ReadLimit(k.limit)
	if err != nil {
		return 0, fmt.Errorf("gntalloc limit: %w", err)
	}
	return limit, nil
}

// RaiseLimit makes the limit at least pages and returns the limit that holds
// then. It never lowers it. An error that the limit may not be changed comes with
// the limit as it is.
func (k *Kernel) RaiseLimit(pages int) (int, error) {
	limit, err := sys.RaiseLimit(k.limit, pages)
	if err != nil {
		return limit, fmt.Errorf("raise gntalloc limit to %d: %w", pages, err)
	}
	return limit, nil
}
