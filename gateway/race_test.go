//go:build race

package gateway

// race says that the race detector is on; it multiplies memory.
const race = true
