package api

import "context"

// Nodes implements Service.
func (c *Client) Nodes(ctx context.Context, by Caller) (NodeList, error) {
	return ask[NodeList](ctx, c, get("/v1/nodes", by))
}

// NodeRetire implements Service. A node that was only named comes with an error.
func (c *Client) NodeRetire(ctx context.Context, by Caller, writer string) (NodeRetirement, error) {
	result, err := ask[NodeRetirement](ctx, c, post("/v1/nodes:retire", by, nodeBody{Writer: writer}))
	if err == nil && result.State == NodeNamed {
		err = OnlyNamed(result)
	}
	return result, err
}

// OnlyNamed says that a second principal must confirm a retirement.
func OnlyNamed(r NodeRetirement) error {
	return Refused("the node is named and not retired: another principal must say the same until " + r.Until)
}
