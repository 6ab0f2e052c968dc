package projections

// Room is for how many events the loop keeps memory.
func (l *Loop) Room() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cap(l.batch)
}

// Emptied is what a batch is emptied with.
func Emptied(s []int) []int { return emptied(s) }
