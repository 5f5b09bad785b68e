package config

// Nearest returns the word that name is probably a slip of, or "" if none is
// near: more than a third of it would have to be typed again. Of several that are
// as near it is the first. The name may be anybody's text of any length.
func Nearest(name string, words []string) string {
	best, least := "", len(name)
	for _, word := range words {
		// A name much longer than every word is nobody's slip, and may be
		// kilobytes.
		if len(name) > 2*len(word) {
			continue
		}
		if d := distance(name, word); d < least {
			best, least = word, d
		}
	}
	if least > max(1, len(best)/3) {
		return ""
	}
	return best
}

// distance is the number of bytes to insert, delete, replace or swap with the
// next to make b of a (optimal string alignment).
func distance(a, b string) int {
	var before []int // the row before the last
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(replace, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
