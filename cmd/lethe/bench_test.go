package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3, 1}},
		{[]float64{9, 1, 4}, spread{1, 4, 9, 3}},
		{[]float64{4, 1, 2, 9}, spread{1, 3, 9, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
	if got := ratios([]float64{6, 1}, []float64{3, 4}); !slices.Equal(got, []float64{2, 0.25}) {
		t.Errorf("ratios are %v", got)
	}
}

func TestAimsAreJudged(t *testing.T) {
	var c conditions
	c.atMost("much", 1.06, 1.05)
	c.atMost("little", 1.05, 1.05)
	c.atLeast("slow", 4.9e6, 5e6)
	c.atLeast("fast", 5e6, 5e6)
	var got []bool
	for _, a := range c.Aims {
		got = append(got, a.Met)
		if strings.HasSuffix(a.String(), ": missed") == a.Met {
			t.Errorf("%q says something else than %v", a, a.Met)
		}
	}
	if !slices.Equal(got, []bool{false, true, false, true}) {
		t.Errorf("met: %v", got)
	}
}

func TestFrames(t *testing.T) {
	for _, n := range []int{0, 125, 126, 4000} {
		whole := frameOf(n, true)
		payload, size, err := cutFrame(append(slices.Clone(whole), 0x82))
		if err != nil || len(payload) != n || size != len(whole) {
			t.Errorf("%d bytes: payload of %d, frame of %d, %v", n, len(payload), size, err)
		}
		for cut := range whole {
			if _, size, err := cutFrame(whole[:cut]); size != 0 || err != nil {
				t.Fatalf("%d of %d bytes are taken for a frame: %d, %v", cut, len(whole), size, err)
			}
		}
		if server := frameOf(n, false); len(server) != len(whole)-4 {
			t.Errorf("%d bytes: a server's frame has %d", n, len(server))
		}
	}
	if _, _, err := cutFrame(frameOf(3, false)); err == nil {
		t.Error("a frame without a masking key is taken")
	}
}

func TestQuantile(t *testing.T) {
	var d []time.Duration
	for i := range 101 {
		d = append(d, time.Duration(100-i)*time.Microsecond)
	}
	for q, want := range map[float64]float64{0: 0, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(d, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// TestBenchesRun runs every benchmark at its smallest. The figures mean nothing;
// that each is there, and that the processes find one another, does.
func TestBenchesRun(t *testing.T) {
	want := map[string][]string{
		"gateway": {"connections", "depth", "off", "on", "throughput_ratio", "cpu_ratio"},
		"idle":    {"off", "on"}, "record": {"sizes", "single_appends"}, "erase": {"small", "large", "ratio"},
		"rebuild": {"fold_events_per_s", "bare_ratio", "peaks"}, "disk": {"sizes"}, "latency": {"added_p99_us"},
		"common": {"cpu_ratio", "appends_per_s", "log_bytes_per_message"},
	}
	if len(want) != len(trials()) {
		t.Fatalf("%d benchmarks, %d are tested", len(trials()), len(want))
	}
	for name, fields := range want {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			args := []string{"bench", name, "--quick", "--json", "--scratch", t.TempDir(), "--seconds", "0.2"}
			c := exec.CommandContext(t.Context(), "lethe", args...) // TestMain put it in the path
			c.Stdout, c.Stderr = &out, &errs
			if err := c.Run(); err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			lines := 0
			for line := range strings.Lines(out.String()) {
				lines++
				checkResult(t, line, fields)
			}
			if lines == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

func checkResult(t *testing.T, line string, fields []string) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for _, field := range append(fields, "bench", "machine", "load_before", "load_after", "aims") {
		if v, ok := got[field]; !ok || v == nil || v == "" {
			t.Errorf("%s is missing in %s", field, line)
		}
	}
	for name, v := range got {
		if s, ok := v.(map[string]any); ok && s["runs"] == 0.0 {
			t.Errorf("%s was never measured", name)
		}
	}
}
