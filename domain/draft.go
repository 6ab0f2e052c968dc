package domain

import "time"

// A Draft is an event before it is sealed. It holds personal data in clear and
// never leaves the process.
type Draft struct {
	ID    EventID
	Type  EventType
	At    time.Time
	Scope Scope
	Ref   SubjectRef
	Class Class
	Tier  Tier
	// Block is set for an anonymous ref; the event then stands in the stream of
	// its block.
	Block   BlockID
	Facts   Facts
	N       uint32 // records in the payload; at least 1
	Payload []byte // empty: nothing of the event is sealed
}
