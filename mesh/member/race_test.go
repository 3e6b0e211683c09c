//go:build race

package member

// The race detector makes the large simulations ten times slower, and they run in
// one goroutine: a smaller mesh shows as much.
func init() { raceDetector = true }
