package tracker

// Publish tells n changes that concern nobody.
func Publish(t *Tracker, n int) {
	for range n {
		t.changes.publish(change{})
	}
}
