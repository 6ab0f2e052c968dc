package main

import (
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// startEventStore serves the protocol of EventStoreDB and sets $EVENTSTORE to its
// URL: eventstore
func startEventStore(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := esdbtest.New(esdbtest.Options{Clock: time.Now})
	ts.Check(err)
	ts.Defer(c.Close)
	ts.Setenv("EVENTSTORE", c.URL())
}
