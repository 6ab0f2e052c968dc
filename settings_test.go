package lethe

import "testing"

// The file that the documentation begins with loads, and says what it seems to.
func TestTheDocumentedFileLoads(t *testing.T) {
	c, err := LoadConfig("docs/lethe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.gatewaySettings(&c.Policy)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Policy.Reviewed || len(s.Pools) != 1 || s.Pools[0].MaxMessage != 1<<20 || s.Pools[0].Upstreams[0] != "ws://127.0.0.1:9000" {
		t.Errorf("loaded %+v", s.Pools)
	}
}

// What anybody can type identifies nobody once others can connect.
func TestIdentificationByQueryEndsWithLoopback(t *testing.T) {
	c := UpstreamConfig("ws://127.0.0.1:9000")
	if len(c.Identify) != 2 {
		t.Fatalf("on loopback: %+v", c.Identify)
	}
	c.SetListen("0.0.0.0:8080")
	if len(c.Identify) != 0 {
		t.Errorf("on a public address: %+v", c.Identify)
	}
}
