// Package spelling tells how far apart two words are, so that whoever mistyped
// a name is shown the one that was probably meant.
//
// Call [Distance]. Anything may import it; it imports nothing. The work is the
// product of the lengths, so callers cut words that strangers chose.
package spelling

// Distance is Levenshtein's: how many bytes to insert, delete or change to get
// from a to b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
