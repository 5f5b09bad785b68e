package pid1

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// LoopbackStep returns the step "loopback", which brings up the interface lo:
// what speaks TCP within the domain, such as a service that forwards to
// 127.0.0.1, finds no way without. A kernel without networking has none.
func LoopbackStep(k Kernel) Step {
	return Step{Name: "loopback", Optional: true, Run: func(context.Context) error { return k.LoopbackUp() }}
}

// loopbackIndex is the index of lo in every network namespace (LOOPBACK_IFINDEX
// in include/net/net_namespace.h).
const loopbackIndex = 1

// loopbackUp asks by one message of rtnetlink(7) for IFF_UP. The kernel gives lo
// its addresses, 127.0.0.1 and ::1, when it goes up (inetdev_event in
// net/ipv4/devinet.c, addrconf_notify in net/ipv6/addrconf.c).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, upRequest(loopbackIndex), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	// The kernel handles the message within the call that sends it, so that the
	// answer is there already.
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("loopback interface: answer: %w", err)
	}
	if err := ackError(answer[:n]); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	return nil
}

// upRequest is a struct nlmsghdr with a struct ifinfomsg (linux/netlink.h,
// linux/rtnetlink.h), in the byte order of the machine.
func upRequest(index uint32) []byte {
	order := binary.NativeEndian
	b := order.AppendUint32(nil, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg) // nlmsg_len
	b = order.AppendUint16(b, unix.RTM_NEWLINK)                            // nlmsg_type
	b = order.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)           // nlmsg_flags
	b = order.AppendUint32(b, 0)                                           // nlmsg_seq
	b = order.AppendUint32(b, 0)                                           // nlmsg_pid
	b = append(b, unix.AF_UNSPEC, 0)                                       // ifi_family, padding
	b = order.AppendUint16(b, 0)                                           // ifi_type
	b = order.AppendUint32(b, index)                                       // ifi_index
	b = order.AppendUint32(b, unix.IFF_UP)                                 // ifi_flags
	return order.AppendUint32(b, unix.IFF_UP)                              // ifi_change
}

// ackError is the error of an NLMSG_ERROR message: a struct nlmsghdr and a
// negative errno, 0 for none.
func ackError(b []byte) error {
	order := binary.NativeEndian
	if len(b) < unix.SizeofNlMsghdr+4 || order.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("answer of %d bytes is no acknowledgement", len(b))
	}
	if n := int32(order.Uint32(b[unix.SizeofNlMsghdr:])); n != 0 {
		return unix.Errno(-n)
	}
	return nil
}
