package api

// The states of a node.
const (
	NodeOpen    = "open"
	NodeClosed  = "closed"
	NodeSilent  = "silent"  // for more than 24 hours, without having ended
	NodeRetired = "retired" // silent, and two principals said that it is not expected back
	NodeNamed   = "named"   // silent, and one principal said so
)

// NodeList lists the processes that wrote to the log within 30 days, the latest
// first.
type NodeList struct {
	Nodes []Node `json:"nodes"`
	More  bool   `json:"more,omitempty"` // there were others before
}

// A Node is one process, from its start to its end.
type Node struct {
	Writer string `json:"writer"`
	First  string `json:"first"` // signs within the 30 days
	Last   string `json:"last"`
	State  string `json:"state"`
}

// A NodeRetirement answers node retire. With the state named it comes together with
// an error: another principal must confirm it.
type NodeRetirement struct {
	Writer string `json:"writer"`
	State  string `json:"state"`           // named, retired
	Until  string `json:"until,omitempty"` // named: when it can be confirmed no more
	From   string `json:"from,omitempty"`  // retired: the gap that was noted
	To     string `json:"to,omitempty"`
}
