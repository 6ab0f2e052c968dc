package api

import (
	"context"
	"errors"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
)

const nodeUntil = "2026-05-02T12:00:00Z"

func (f *fake) Nodes(_ context.Context, c Caller) (NodeList, error) {
	return NodeList{Nodes: []Node{{Writer: uuidA, First: "2026-05-01T10:00:00Z", Last: "2026-05-01T11:00:00Z", State: NodeSilent}}}, f.note("nodes", c)
}

// NodeRetire names uuidA, retires uuidB and knows no other.
func (f *fake) NodeRetire(_ context.Context, c Caller, writer string) (NodeRetirement, error) {
	err := f.note("node retire "+writer, c)
	switch {
	case err != nil:
		return NodeRetirement{}, err
	case writer == uuidA:
		named := NodeRetirement{Writer: writer, State: NodeNamed, Until: nodeUntil}
		return named, OnlyNamed(named)
	case writer == uuidB:
		return NodeRetirement{Writer: writer, State: NodeRetired}, nil
	}
	return NodeRetirement{}, domain.ErrNotFound
}

// TestNodes: what is only named is an answer on the wire and a refusal for whoever
// called.
func TestNodes(t *testing.T) {
	b := start(t, ServerOptions{})
	for _, q := range []struct {
		line, body string
		status     int
		want       string
	}{
		{"GET /v1/nodes", ``, 200, `{"nodes":[{"writer":"` + uuidA + `","first":"2026-05-01T10:00:00Z","last":"2026-05-01T11:00:00Z","state":"silent"}]}`},
		{"POST /v1/nodes:retire", `{}`, 400, `{"error":{"code":"usage","message":"name the node: writer"}}`},
		{"POST /v1/nodes:retire", `{"writer":"` + uuidA + `"}`, 202, `{"writer":"` + uuidA + `","state":"named","until":"` + nodeUntil + `"}`},
		{"POST /v1/nodes:retire", `{"writer":"` + uuidB + `"}`, 200, `{"writer":"` + uuidB + `","state":"retired"}`},
		{"POST /v1/nodes:retire", `{"writer":"x"}`, 404, `{"error":{"code":"not_found","message":"There is no such thing"}}`},
	} {
		if status, got, _ := b.do(t, RoleOperator, q.line, q.body); status != q.status || got != q.want {
			t.Errorf("%s %s: %d %s", q.line, q.body, status, got)
		}
	}
	c, by := b.client(RoleOperator), Caller{Purpose: "loss"}
	list, err := c.Nodes(t.Context(), by)
	if err != nil || len(list.Nodes) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	named, err := c.NodeRetire(t.Context(), by, uuidA)
	var said *Error
	if !errors.As(err, &said) || said.Code != CodeRefused || named.State != NodeNamed || named.Until != nodeUntil {
		t.Errorf("named: %+v, %v", named, err)
	}
	if done, err := c.NodeRetire(t.Context(), by, uuidB); err != nil || done.State != NodeRetired {
		t.Errorf("retired: %+v, %v", done, err)
	}
	if want := "node retire " + uuidB + " p-operator/operator/loss"; b.fake.calls[len(b.fake.calls)-1] != want {
		t.Errorf("calls %s", b.fake.noted())
	}
}
