// Package esdb is the store on EventStoreDB / KurrentDB, from server 23.10.8 on,
// through EventStore-Client-Go v4.2.0.
//
// The client has faults that a ledger cannot live with: a failed discovery ends it
// for ever and lets callers hang, it does not honour contexts while it looks for a
// node, closing it while it is in use panics, and it leaks the connection that it
// replaces. All of them need somebody who asks it for a connection while another
// one does or after a call has failed. So a client lives in a lane (lane.go): its
// callers ask for the connection one at a time, it is retired by its first failure
// before it can look for another connection, and closed when its last call has
// ended. A call runs on a goroutine of its own, which outlives its caller if the
// client does not let go, and recovers what panics. Lanes stand in pools of a
// bounded size, one for each account and use: appends, reads, subscriptions and
// disposal never wait for one another, and no connection carries more than 32 of
// the hundred calls that the server allows.
//
// Where the leader is, and which version it runs, is found out by this package
// itself (leader.go), all nodes at once, so that one frozen node delays nobody.
// Every call carries requires-leader: a follower's answer may be old.
//
// Outcomes. What the server refused is told as the contract says; everything else
// matches domain.ErrUnavailable and says nothing about whether an append stands in
// the log. Append settles that itself, within the caller's context, by the same
// append with the same ids at the same revision, never before three seconds: while
// the first is still in flight, the server drops a second one without an answer.
// Appends to one stream wait for one another in this process for the same reason.
// A server without the records any more (scavenged) answers a repetition of them
// with *WrongRevision.
//
// Reading. The log shows the streams under Config.Prefix only, and their
// $streamDeleted. The server shows truncated and deleted events in the log until
// it is scavenged, and so does ReadAll; ReadStream hides them at once. A reader at
// the head may see a part of an append for a moment.
//
// Not contained: when a node that leads no more names a leader that cannot be
// reached, the client abandons the connection it tried, and a few goroutines with
// it, before anybody can close it. And the client ends the process (log.Fatalf) if a server sends an
// event without a creation time. No server does.
package esdb
