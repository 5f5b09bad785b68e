package pid1

// nearest returns the word that name is probably a slip of, or "" if none is
// near: more than a third of it would have to be typed again.
func nearest(name string, words []string) string {
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
