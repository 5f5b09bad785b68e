package kmod

import "iter"

// Nearest returns the one of the canonical names that name is probably a slip
// of, or "" if none is near: more than a third of it would have to be typed
// again. Of several that are as near it is the first by name.
func Nearest(name string, names iter.Seq[string]) string {
	name = Canonical(name)
	best, least := "", len(name)
	for candidate := range names {
		if 2*len(candidate) < len(name) || 2*len(name) < len(candidate) {
			continue // nobody's slip, and a name from a command line may be long
		}
		if d := distance(name, candidate); d < least || d == least && candidate < best {
			best, least = candidate, d
		}
	}
	if least > max(1, len(best)/3) {
		return ""
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
