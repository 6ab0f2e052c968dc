package main

import (
	"context"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// The nodes of the canned Service.
const (
	silentNode = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	namedNode  = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	openNode   = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
)

func (fake) Nodes(_ context.Context, c api.Caller) (api.NodeList, error) {
	if c.Purpose == "nobody" {
		return api.NodeList{Nodes: []api.Node{}}, nil
	}
	return api.NodeList{Nodes: []api.Node{
		{Writer: openNode, First: "2026-05-01T10:00:00Z", Last: "2026-05-03T12:00:00Z", State: api.NodeOpen},
		{Writer: silentNode, First: "2026-05-01T09:00:00Z", Last: "2026-05-01T11:30:00Z", State: api.NodeSilent},
	}, More: c.Purpose == "many"}, nil
}

func (fake) NodeRetire(_ context.Context, _ api.Caller, writer string) (api.NodeRetirement, error) {
	switch writer {
	case silentNode:
		r := api.NodeRetirement{Writer: writer, State: api.NodeNamed, Until: "2026-05-04T12:00:00Z"}
		return r, api.OnlyNamed(r)
	case namedNode:
		return api.NodeRetirement{Writer: writer, State: api.NodeRetired, From: "2026-05-01T11:30:00Z", To: "2026-05-03T12:00:00Z"}, nil
	case openNode:
		return api.NodeRetirement{}, api.Refused("only a node that has been silent for 24 hours is retired")
	}
	return api.NodeRetirement{}, api.NotFound("no node of that name wrote to the log within 30 days; lethe node list shows them")
}
