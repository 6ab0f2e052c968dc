package esdbtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// A change turns the plainest read into the one a rule needs.
type change func(*api.ReadReq_Options)

func stream(name string) *api.ReadReq_Options {
	return &api.ReadReq_Options{
		StreamOption: &api.ReadReq_Options_Stream{Stream: &api.ReadReq_Options_StreamOptions{
			StreamIdentifier: streamID(name), RevisionOption: &api.ReadReq_Options_StreamOptions_Start{Start: &shared.Empty{}},
		}},
		CountOption:  &api.ReadReq_Options_Count{Count: 5000},
		FilterOption: &api.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:   &api.ReadReq_Options_UUIDOption{Content: &api.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}
}

func all() *api.ReadReq_Options {
	o := stream("")
	o.StreamOption = &api.ReadReq_Options_All{All: &api.ReadReq_Options_AllOptions{AllOption: &api.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}}
	return o
}

func with(o *api.ReadReq_Options, changes ...change) *api.ReadReq_Options {
	for _, c := range changes {
		c(o)
	}
	return o
}

func back(o *api.ReadReq_Options) { o.ReadDirection = api.ReadReq_Options_Backwards }

// backFromEnd reads backwards, from the end.
func backFromEnd(o *api.ReadReq_Options) {
	back(o)
	end(o)
}

func end(o *api.ReadReq_Options) {
	if s := o.GetStream(); s != nil {
		s.RevisionOption = &api.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}
		return
	}
	o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_End{End: &shared.Empty{}}
}

func from(revision uint64) change {
	return func(o *api.ReadReq_Options) {
		o.GetStream().RevisionOption = &api.ReadReq_Options_StreamOptions_Revision{Revision: revision}
	}
}

func at(commit, prepare uint64) change {
	return func(o *api.ReadReq_Options) {
		o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_Position{Position: &api.ReadReq_Options_Position{CommitPosition: commit, PreparePosition: prepare}}
	}
}

func limit(n uint64) change {
	return func(o *api.ReadReq_Options) { o.CountOption = &api.ReadReq_Options_Count{Count: n} }
}

func compat(n uint32) change {
	return func(o *api.ReadReq_Options) {
		o.ControlOption = &api.ReadReq_Options_ControlOption{Compatibility: n}
	}
}

func subscribing(o *api.ReadReq_Options) {
	o.CountOption = &api.ReadReq_Options_Subscription{Subscription: &api.ReadReq_Options_SubscriptionOptions{}}
}

// filter sets one with a search window of 32 and a multiplier of 1.
func filter(f *api.ReadReq_Options_FilterOptions, changes ...func(*api.ReadReq_Options_FilterOptions)) change {
	f.Window, f.CheckpointIntervalMultiplier = &api.ReadReq_Options_FilterOptions_Max{Max: 32}, 1
	for _, c := range changes {
		c(f)
	}
	return func(o *api.ReadReq_Options) { o.FilterOption = &api.ReadReq_Options_Filter{Filter: f} }
}

func byStream(regex string, prefixes ...string) *api.ReadReq_Options_FilterOptions {
	return &api.ReadReq_Options_FilterOptions{Filter: &api.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &api.ReadReq_Options_FilterOptions_Expression{Regex: regex, Prefix: prefixes}}}
}

func byType(regex string, prefixes ...string) *api.ReadReq_Options_FilterOptions {
	return &api.ReadReq_Options_FilterOptions{Filter: &api.ReadReq_Options_FilterOptions_EventType{EventType: &api.ReadReq_Options_FilterOptions_Expression{Regex: regex, Prefix: prefixes}}}
}

func windowOf(n uint32) func(*api.ReadReq_Options_FilterOptions) {
	return func(f *api.ReadReq_Options_FilterOptions) {
		f.Window = &api.ReadReq_Options_FilterOptions_Max{Max: n}
	}
}

func times(n uint32) func(*api.ReadReq_Options_FilterOptions) {
	return func(f *api.ReadReq_Options_FilterOptions) { f.CheckpointIntervalMultiplier = n }
}

func countWindow(f *api.ReadReq_Options_FilterOptions) {
	f.Window = &api.ReadReq_Options_FilterOptions_Count{Count: &shared.Empty{}}
}

func noWindow(f *api.ReadReq_Options_FilterOptions) { f.Window = nil }

// token writes one message of a read or subscription.
func (k *kit) token(m *api.ReadResp, ofStream bool) string {
	switch c := m.GetContent().(type) {
	case *api.ReadResp_Event:
		return k.eventToken(c.Event, ofStream)
	case *api.ReadResp_Confirmation:
		return "conf"
	case *api.ReadResp_Checkpoint_:
		return "checkpoint@" + k.labelAt(c.Checkpoint.GetCommitPosition())
	case *api.ReadResp_StreamNotFound_:
		return "not-found(" + k.hide(string(c.StreamNotFound.GetStreamIdentifier().GetStreamName())) + ")"
	case *api.ReadResp_FirstStreamPosition:
		return fmt.Sprintf("first-position=%d", c.FirstStreamPosition)
	case *api.ReadResp_LastStreamPosition:
		return fmt.Sprintf("last-position=%d", c.LastStreamPosition)
	case *api.ReadResp_CaughtUp_:
		return "caught-up"
	}
	return fmt.Sprintf("%T", m.GetContent())
}

func (k *kit) eventToken(e *api.ReadResp_ReadEvent, ofStream bool) string {
	r := e.GetEvent()
	number := "#" + strconv.FormatUint(r.GetStreamRevision(), 10)
	if r.GetStreamRevision() == math.MaxInt64 {
		number = "#maxint64"
	}
	if ofStream {
		return number
	}
	id, _ := readID(r.GetId())
	k.mu.Lock()
	label := k.labels[id]
	k.mu.Unlock()
	if strings.HasPrefix(label, "meta") {
		return "meta"
	}
	if label != "" {
		return label
	}
	name := strings.Replace(string(r.GetStreamIdentifier().GetStreamName()), k.id+"-", "", 1)
	return name + ":" + r.GetMetadata()["type"] + number
}

// labelAt finds the event at a position by reading the log there.
func (k *kit) labelAt(position uint64) string {
	for _, e := range k.events(with(all(), at(position, position), limit(1))) {
		return k.eventToken(e, false)
	}
	return "nothing"
}

// read writes a whole read.
func (k *kit) read(o *api.ReadReq_Options) string {
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	call, err := k.c.Read(ctx, &api.ReadReq{Options: o})
	if err != nil {
		return k.failed(err, nil)
	}
	var tokens []string
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return joined(append(tokens, "EOF"))
		}
		if err != nil {
			return joined(append(tokens, k.failed(err, call.Trailer())))
		}
		tokens = append(tokens, k.token(m, o.GetStream() != nil))
	}
}

// events reads the events alone.
func (k *kit) events(o *api.ReadReq_Options) []*api.ReadResp_ReadEvent {
	call, err := k.c.Read(k.ctx, &api.ReadReq{Options: o})
	if err != nil {
		k.t.Fatal(err)
	}
	var out []*api.ReadResp_ReadEvent
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			k.t.Fatalf("read: %v", err)
		}
		if e := m.GetEvent(); e != nil {
			out = append(out, e)
		}
	}
}

var numbered = regexp.MustCompile(`^(#|[a-z]+)(\d+)$`)

// joined writes tokens, three or more in sequence as a range.
func joined(tokens []string) string {
	var out []string
	for i := 0; i < len(tokens); {
		n := runLength(tokens[i:])
		if n >= 3 {
			out = append(out, tokens[i]+".."+tokens[i+n-1])
			i += n
			continue
		}
		out = append(out, tokens[i])
		i++
	}
	return strings.Join(out, " ")
}

func runLength(tokens []string) int {
	step := 0
	n := 1
	for ; n < len(tokens); n++ {
		a, b := numbered.FindStringSubmatch(tokens[n-1]), numbered.FindStringSubmatch(tokens[n])
		if a == nil || b == nil || a[1] != b[1] {
			break
		}
		x, _ := strconv.Atoi(a[2])
		y, _ := strconv.Atoi(b[2])
		if y-x != 1 && y-x != -1 || (step != 0 && y-x != step) {
			break
		}
		step = y - x
	}
	return n
}

// A listener reads a subscription in the background.
type listener struct {
	k      *kit
	tokens chan string
	stop   context.CancelFunc
}

func (k *kit) listen(o *api.ReadReq_Options) *listener {
	return k.listenIn(k.ctx, o)
}

func (k *kit) listenIn(ctx context.Context, o *api.ReadReq_Options) *listener {
	ctx, cancel := context.WithCancel(ctx)
	k.t.Cleanup(cancel)
	subscribing(o)
	l := &listener{k: k, tokens: make(chan string, 10000), stop: cancel}
	call, err := k.c.Read(ctx, &api.ReadReq{Options: o})
	if err != nil {
		k.t.Fatal(err)
	}
	go func() {
		defer close(l.tokens)
		for {
			m, err := call.Recv()
			if err != nil {
				l.tokens <- "end(" + k.failed(err, call.Trailer()) + ")"
				return
			}
			l.tokens <- k.token(m, o.GetStream() != nil)
		}
	}()
	return l
}

// quiet is how long nothing must come before a driver believes that nothing does.
const quiet = 60 * time.Millisecond

// until waits for one message and answers all that came before it, and it.
func (l *listener) until(token string) string {
	var got []string
	for t := range l.tokens {
		if got = append(got, t); t == token {
			break
		}
	}
	return joined(got)
}

// take waits for n messages, then whether more come unasked.
func (l *listener) take(n int) string {
	var got []string
	for {
		wait := 3 * time.Second
		if len(got) >= n {
			wait = quiet
		}
		select {
		case token, open := <-l.tokens:
			if !open {
				return joined(got)
			}
			got = append(got, token)
		case <-time.After(wait):
			if len(got) == 0 {
				return "nothing"
			}
			return joined(got)
		}
	}
}
