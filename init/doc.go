// Package pid1 is what the binary does when it is the first process of a
// service domain: it brings the domain up by a table of steps, does what the
// settings say, loads the drivers, buries orphans, and takes the domain down in
// order. The folder is called init for what it is; the package is not, because
// Go cannot import a package of that name.
//
// PID 1 must not exit and must not hang: its exit is a kernel panic, and nobody
// is there to press a key. So every step and every stop has a deadline, a panic
// in one becomes its error, a console that no one drains loses lines and not
// the domain, a toolstack that does not listen keeps nobody waiting, and what
// cannot be repaired ends in Fatal, which reboots, powers off, or gives the
// console to a shell and then powers off.
//
// The package knows no Xen, no link and no service. The caller composes the
// boot table from the steps here and from its own:
//
//	func main() {
//		start := time.Now()
//		kernel, console, reaper := pid1.Linux(), pid1.NewConsole(os.Stderr), pid1.NewReaper()
//		in := pid1.New(pid1.Options{Kernel: kernel, Console: console, Start: start, Reaper: reaper, Tell: tell})
//		defer in.Guard()
//		in.Go(ctx, reaper.Run)
//		go pid1.Signals(ctx, func(how pid1.How) { in.Shutdown(ctx, how) })
//		modules := pid1.Modules{Kernel: kernel}
//		err := in.Boot(ctx, []pid1.Step{
//			pid1.MountStep(kernel, pid1.Mounts()),
//			pid1.ConsoleStep(kernel),
//			in.MemoryStep(),
//			in.SettingsStep(settings),
//			pid1.SurroundingsStep(kernel, pid1.Surroundings()),
//			pid1.LoopbackStep(kernel),
//			pid1.ModuleStep(modules, pid1.Drivers(grantLimit)),
//			{Name: "xenstore", Run: store.Open, Stop: store.Close},
//			in.ToolstackStep(settings, store.Settings),
//			in.FurtherStep(modules, func() ([]string, bool) { return config.Modules, config.Strict }),
//			in.ClockStep(store.StartTime),
//			{Name: "link", Run: link.Up, Stop: link.Down, StopTimeout: 10 * time.Second},
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
