package gateway

// child runs what a test started in a process of its own; it reports whether it
// did.
func child() bool { return false }
