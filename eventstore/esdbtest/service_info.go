package esdbtest

import (
	"context"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
)

// features serves what a client asks first.
type features struct {
	serverfeatures.UnimplementedServerFeaturesServer
	s *Server
}

const streamsService = "event_store.client.streams.streams"

// GetSupportedMethods reports the version and what is served. BatchAppend is not
// among it, because clients would use it.
func (f features) GetSupportedMethods(ctx context.Context, _ *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	if err := f.s.attend(ctx, MethodFeatures); err != nil {
		return nil, err
	}
	out := &serverfeatures.SupportedMethods{EventStoreServerVersion: f.s.cluster.options.Version}
	for _, m := range []struct {
		name     string
		features []string
	}{{"append", nil}, {"delete", nil}, {"read", []string{"position", "events"}}, {"tombstone", nil}} {
		out.Methods = append(out.Methods, &serverfeatures.SupportedMethod{MethodName: m.name, ServiceName: streamsService, Features: m.features})
	}
	return out, nil
}

// attend is admit for calls that need neither a right nor a leader.
func (s *Server) attend(ctx context.Context, method string) error {
	if err := s.frozen.wait(ctx); err != nil {
		return err
	}
	if _, err := s.cluster.users.caller(ctx); err != nil && s.cluster.users.secured {
		return err
	}
	return s.hook(ctx, s.hooks.Load().Arrived, Call{Method: method})
}

// gossiper serves what a client of several servers asks first.
type gossiper struct {
	gossip.UnimplementedGossipServer
	s *Server
}

// Read lists the servers as this one sees them.
func (g gossiper) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	if err := g.s.attend(ctx, MethodGossip); err != nil {
		return nil, err
	}
	leader := g.s.cluster.Leader()
	out := &gossip.ClusterInfo{}
	for _, s := range g.s.cluster.servers {
		out.Members = append(out.Members, g.s.sees(s, leader))
	}
	return out, nil
}

// sees describes another server, or itself. Who was deposed does not know it.
func (s *Server) sees(other, leader *Server) *gossip.MemberInfo {
	s.mu.RLock()
	deposed := s.deposed || s.private != nil
	s.mu.RUnlock()
	if deposed {
		leader = s
	}
	state := gossip.MemberInfo_Follower
	switch {
	case leader == nil:
		state = gossip.MemberInfo_Unknown
	case other == leader:
		state = gossip.MemberInfo_Leader
	}
	instance, alive := other.Instance()
	return &gossip.MemberInfo{
		InstanceId:   writeID(instance, false),
		TimeStamp:    s.cluster.options.Clock().UnixNano() / 100,
		State:        state,
		IsAlive:      alive && !other.frozen.isShut(),
		HttpEndPoint: &gossip.EndPoint{Address: other.host(), Port: uint32(other.port())},
	}
}
