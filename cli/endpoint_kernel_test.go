package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

func TestWhatToDoAboutTheKernelsErrors(t *testing.T) {
	for name, test := range map[string]struct {
		say  func(error) error
		err  error
		want []string
		not  string
	}{
		"no AF_VSOCK to connect by":   {kernelDialError, unix.EAFNOSUPPORT, []string{"load the module vhost_vsock", "name it as xvsock"}, "xvsock peers"},
		"no AF_VSOCK to listen at":    {kernelListenError, unix.EAFNOSUPPORT, []string{"load the module vhost_vsock"}, "xvsock peers"},
		"no such CID":                 {kernelDialError, unix.ENODEV, []string{"no domain has this CID", "policy does not open it", "`xvsock status`", "`xvsock peers`", "vhost_vsock"}, "only root"},
		"refused":                     {kernelDialError, unix.ECONNRESET, []string{"refused, or denied by policy"}, "only root"},
		"no right to connect":         {kernelDialError, unix.EACCES, nil, "listen"},
		"no right to listen":          {kernelListenError, unix.EACCES, []string{"only root may listen on a port below 1024"}, "CID"},
		"a port that another has":     {kernelListenError, unix.EADDRINUSE, nil, "CID"},
		"nobody answers":              {kernelDialError, unix.ETIMEDOUT, nil, "CID"},
		"a reset is none of a listen": {kernelListenError, unix.ECONNRESET, nil, "policy"},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.say(fmt.Errorf("dial vsock 5:22: %w", test.err))
			text := got.Error()
			if !errors.Is(got, test.err) || strings.Contains(text, test.not) || strings.Contains(text, "\n") {
				t.Errorf("it is %q", text)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			if test.want == nil && text != "dial vsock 5:22: "+test.err.Error() {
				t.Errorf("it is %q", text)
			}
		})
	}
}

// kernelListen listens at a port of the kernel's, where it has AF_VSOCK.
func kernelListen(t *testing.T, e *kernelEnd) net.Listener {
	t.Helper()
	l, err := e.listen(t.Context())
	if errors.Is(err, unix.EAFNOSUPPORT) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAPortOfTheKernelsThatWasPickedIsKept(t *testing.T) {
	e := &kernelEnd{vsock.Addr{CID: unix.VMADDR_CID_ANY}}
	l := kernelListen(t, e)
	if want := fmt.Sprintf("vsock:*:%d", l.Addr().(vsock.Addr).Port); e.addr.Port == 0 || e.String() != want {
		t.Errorf("it is %v, want %s", e, want)
	}
	if _, err := e.listen(t.Context()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
}

func TestACIDThatTheKernelDoesNotReachIsAnError(t *testing.T) {
	kernelListen(t, &kernelEnd{vsock.Addr{CID: unix.VMADDR_CID_ANY}}) // and so there is AF_VSOCK
	ctx, cancel := context.WithTimeout(t.Context(), 1e8)
	defer cancel()
	c, err := (&kernelEnd{vsock.Addr{CID: unix.VMADDR_CID_LOCAL, Port: 1}}).dial(ctx)
	if err == nil || c != nil {
		t.Fatalf("%v, %v", c, err)
	}
	told := strings.Contains(err.Error(), "policy")
	if want := errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ECONNRESET); told != want { // else nobody answers
		t.Errorf("it is told as %v", err)
	}
}
