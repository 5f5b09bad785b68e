package pid1_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

func TestFurtherModules(t *testing.T) {
	const (
		dep   = "kernel/loop.ko:\nkernel/ext4.ko: kernel/jbd2.ko\nkernel/jbd2.ko:\n"
		loop  = "load " + modulesDir + "kernel/loop.ko"
		fix   = "; put them there with: xvsock image build --modules lib/modules/6.1.0-test --module nosuch"
		older = "it is not made for this kernel: build the image from the modules of the same package"
	)
	here := map[string]string{modulesDir + "modules.dep": dep}
	for _, tt := range []struct {
		name   string
		files  map[string]string
		refuse map[string]error
		names  []string
		loaded []string
		lines  []string
	}{
		{"none", here, nil, nil, nil, nil},
		{"in the order they are named, each after what it needs", here, nil, []string{"ext4", "loop"},
			[]string{"load " + modulesDir + "kernel/jbd2.ko", "load " + modulesDir + "kernel/ext4.ko", loop}, nil},
		{"one that is loaded already", map[string]string{"sys/module/ext4/refcnt": "0"}, nil, []string{"ext4"}, nil, nil},
		{"one that was loaded for another", here, map[string]error{"jbd2": unix.EEXIST}, []string{"ext4"},
			[]string{"load " + modulesDir + "kernel/jbd2.ko", "load " + modulesDir + "kernel/ext4.ko"}, nil},
		{"one that is not in the image keeps no other away", here, nil, []string{"nosuch", "loop"}, []string{loop},
			[]string{"module nosuch: not in the kernel and not in the image" + fix}},
		{"an image for another kernel", map[string]string{"lib/modules/5.10.0-old/modules.dep": ""}, nil, []string{"nosuch"}, nil,
			[]string{"module nosuch: not in the kernel and not in the image (the image holds those of kernel 5.10.0-old, this kernel is 6.1.0-test)" + fix}},
		{"one of another kernel", here, map[string]error{"loop": unix.ENOEXEC}, []string{"loop"}, []string{loop},
			[]string{"module loop: exec format error; " + older}},
		{"one that another needs", here, map[string]error{"jbd2": unix.ENOEXEC}, []string{"ext4"},
			[]string{"load " + modulesDir + "kernel/jbd2.ko"},
			[]string{"module jbd2, which ext4 needs: exec format error; " + older}},
		{"parameters", here, nil, []string{"loop max_loop=8", "max_loop=8", "loop"}, []string{loop}, []string{
			`module "loop max_loop=8": parameters are not supported; write its name alone; a driver that is built in takes them from the kernel's command line`,
			`module "max_loop=8": parameters are not supported; write its name alone; a driver that is built in takes them from the kernel's command line`,
		}},
		{"no names", here, nil, []string{"", "../loop", "kernel/loop.ko", "a b\x1b[2J"}, nil, []string{
			`module "": not the name of a module; write it as modprobe takes it`,
			`module "../loop": not the name of a module; write it as modprobe takes it`,
			`module "kernel/loop.ko": not the name of a module; write it as modprobe takes it`,
			`module "a b\x1b[2J": not the name of a module; write it as modprobe takes it`,
		}},
	} {
		for _, strict := range []bool{false, true} {
			name := tt.name
			if strict {
				name += ", strict"
			}
			t.Run(name, func(t *testing.T) {
				var root string
				m := &machine{}
				in := newInitAs(t, func(o *pid1.Options) { root = o.Root })
				write(t, root, tt.files)
				k := m.kernel()
				load := devices(root, m)
				k.LoadModule = func(path, params string) error {
					base := path[strings.LastIndex(path, "/")+1:]
					_ = load(path, params)
					return tt.refuse[strings.TrimSuffix(base, ".ko")]
				}
				step := in.FurtherStep(pid1.Modules{Kernel: k, Root: root}, func() ([]string, bool) { return tt.names, strict })
				err := step.Run(t.Context())
				if got := m.took(); !slices.Equal(got, tt.loaded) {
					t.Errorf("loaded %q; want %q", got, tt.loaded)
				}
				lines := tt.lines
				if strict && len(lines) > 0 {
					if text(err) != lines[0] {
						t.Errorf("Run() = %v; want %q", err, lines[0])
					}
					lines = lines[1:]
				} else if err != nil {
					t.Errorf("Run() = %v; want nil", err)
				}
				want := ""
				for _, l := range lines {
					want += "xvsock: further-modules: " + l + "\n"
				}
				if in.console.String() != want {
					t.Errorf("console %q; want %q", in.console, want)
				}
			})
		}
	}
}

func TestFurtherModulesEndWithTheBoot(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := newInit(t)
	step := in.FurtherStep(pid1.Modules{Kernel: in.machine.kernel(), Root: t.TempDir()},
		func() ([]string, bool) { return []string{"loop"}, false })
	if err := step.Run(ctx); err == nil || in.console.String() != "" {
		t.Errorf("Run() = %v, console %q; want the end of the boot", err, in.console)
	}
}
