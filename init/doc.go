// Package pid1 is what the binary does when it is the first process of a
// service domain: it brings the domain up by a table of steps, reads the kernel
// command line, loads the drivers, buries orphans, and takes the domain down in
// order. The folder is called init for what it is; the package is not, because
// Go cannot import a package of that name.
//
// PID 1 must not exit and must not hang: its exit is a kernel panic, and nobody
// is there to press a key. So every step and every stop has a deadline, a panic
// in one becomes its error, a console that no one drains loses lines and not
// the domain, and what cannot be repaired ends in Fatal, which reboots or
// powers off.
//
// The package knows no Xen, no link and no service. The caller composes the
// boot table from the steps here and from its own:
//
//	func main() {
//		start := time.Now()
//		kernel, console := pid1.Linux(), pid1.NewConsole(os.Stderr)
//		in := pid1.New(pid1.Options{Kernel: kernel, Console: console, Start: start})
//		defer in.Guard()
//		err := in.Boot(ctx, []pid1.Step{
//			pid1.MountStep(kernel, pid1.Mounts()),
//			pid1.ConsoleStep(kernel),
//			in.MemoryStep(),
//			in.SettingsStep(pid1.Settings(builtin), level, func(c pid1.Config) { config = c }),
//			pid1.ModuleStep(pid1.Modules{Kernel: kernel}, pid1.Drivers(grantLimit)),
//			{Name: "link", Run: link.Up, Stop: link.Down},
//		})
//		...
//	}
//
// u-root's packages were weighed for this. Its cmdline panics on a lone quote,
// keeps only the last of a repeated key and takes typographic quotes for quotes;
// its kmodule panics on a line without a colon and brings three decompressors.
// A panic here is a dead domain, so both are replaced by a few lines that follow
// the kernel's own rules.
package pid1
