// Package esdbtest is a server of the EventStoreDB 23.10.8 gRPC protocol that
// lives in the process of a test. It is built over the client's own stubs, so
// that an adapter talks to it over the real wire.
//
// It promises to answer as a real 23.10.8 single node was seen to answer:
// testdata/observed.tsv holds those answers, a table test drives each of them
// and lists the departures with their reason. Its log is kept in memory;
// Stop and Restart lose what a real server loses (connections, subscriptions, the
// cache behind appends at any revision) and keep what it keeps. Several servers
// over one log make a cluster with one leader.
//
// Everything that goes wrong on a real server can be made to go wrong here:
// Hooks sees every call before and after its commit, and a Server can be
// frozen, cut off, deposed or left behind. It is for tests only and holds
// everything in memory without a bound.
package esdbtest
