package image

// CheckReport is what Check found.
type CheckReport struct {
	// File is what was checked. Version is the release of the kernel that it was
	// checked for; empty if that is not known.
	File    string `json:"file"`
	Version string `json:"version"`
	// Builtin are the modules that the kernel has built in and the domain needs;
	// Modules those in the image, with what they need.
	Builtin []string `json:"builtin"`
	Modules []string `json:"modules"`
	// Findings are all that is to be said, what is missing first.
	Findings []Finding `json:"findings"`
}

// Lacks counts what is missing or wrong: with 0 the image is in order, as far as
// could be found out. Unchecked says whether anything could not.
func (r CheckReport) Lacks() int {
	n := 0
	for _, f := range r.Findings {
		if f.Level.fails() {
			n++
		}
	}
	return n
}

// Unchecked counts what could not be found out.
func (r CheckReport) Unchecked() int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == Unchecked {
			n++
		}
	}
	return n
}
