package kmod

// Deps is what modules.dep says: for each module's file the files that it needs,
// all of them and not only the direct ones, as depmod lists them. Paths are
// relative to the modules directory and have been checked by ParseDeps.
type Deps map[string][]string

// Find returns the file that holds the module of that name, spelt with - or _.
// Of several, it is the one that Precedes the others.
func (d Deps) Find(name string) (file string, ok bool) {
	name = Canonical(name)
	for candidate := range d {
		if NameOf(candidate) == name && (!ok || Precedes(candidate, file)) {
			file, ok = candidate, true
		}
	}
	return file, ok
}

// Order returns file and all that it needs, each once and file last, in an order
// in which they load. A circle, which depmod never writes, is cut and not
// followed.
func (d Deps) Order(file string) []string {
	var order []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		// depmod lists what is needed nearest first, so the last loads first.
		needs := d[file]
		for i := len(needs) - 1; i >= 0; i-- {
			visit(needs[i])
		}
		order = append(order, file)
	}
	visit(file)
	return order
}
