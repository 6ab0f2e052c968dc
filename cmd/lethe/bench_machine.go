package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine is where a figure was measured.
type machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Version string `json:"version"`
}

func thisMachine() machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Kernel: "unknown", Go: runtime.Version(), Version: version()}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// loadAverage is that of one, five and fifteen minutes.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

// Conditions are what a figure means nothing without.
type conditions struct {
	Bench      string  `json:"bench"`
	Machine    machine `json:"machine"`
	LoadBefore string  `json:"load_before"`
	LoadAfter  string  `json:"load_after"`
	Took       string  `json:"took"`
	Aims       []aim   `json:"aims,omitempty"`
	Notes      string  `json:"notes,omitempty"`
}

func (c *conditions) of() *conditions { return c }

func (c *conditions) sheet() *sheet {
	s := pairs("bench", c.Bench,
		"machine", fmt.Sprintf("%s, %d cores, Linux %s, %s, lethe %s", c.Machine.CPU, c.Machine.Cores, c.Machine.Kernel, c.Machine.Go, c.Machine.Version),
		"load average", fmt.Sprintf("%s before, %s after, %s between", c.LoadBefore, c.LoadAfter, c.Took))
	if c.Notes != "" {
		s.add("conditions", c.Notes)
	}
	for _, a := range c.Aims {
		s.add("aim", a.String())
	}
	return s
}

// An aim is a figure beside what it ought to be.
type aim struct {
	What  string  `json:"what"`
	Got   float64 `json:"got"`
	Bound float64 `json:"aim"`
	Least bool    `json:"at_least"` // otherwise the bound is the most
	Met   bool    `json:"met"`
}

func (c *conditions) atMost(what string, got, bound float64) {
	c.Aims = append(c.Aims, aim{What: what, Got: round3(got), Bound: bound, Met: got <= bound})
}

func (c *conditions) atLeast(what string, got, bound float64) {
	c.Aims = append(c.Aims, aim{What: what, Got: round3(got), Bound: bound, Least: true, Met: got >= bound})
}

func (a aim) String() string {
	sign, verdict := "≤", "met"
	if a.Least {
		sign = "≥"
	}
	if !a.Met {
		verdict = "missed"
	}
	return fmt.Sprintf("%s: %s (aim %s %s): %s", a.What, figure(a.Got), sign, figure(a.Bound), verdict)
}

// A spread is what several runs gave.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Runs   int     `json:"runs"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{Min: round3(v[0]), Median: round3((v[(n-1)/2] + v[n/2]) / 2), Max: round3(v[n-1]), Runs: n}
}

// cells are the columns min, median and max of a table.
func (s spread) cells() []any { return []any{figure(s.Min), figure(s.Median), figure(s.Max)} }

// ratios divides pairwise: what was measured side by side.
func ratios(of, by []float64) []float64 {
	out := make([]float64, min(len(of), len(by)))
	for i := range out {
		out[i] = of[i] / by[i]
	}
	return out
}

func round3(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	p, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 4, 64), 64)
	if err != nil {
		return f
	}
	return p
}

// figure writes three digits that matter, and large numbers whole.
func figure(f float64) string {
	switch a := math.Abs(f); {
	case cmp.Compare(f, math.Trunc(f)) == 0, a >= 1000:
		return strconv.FormatFloat(math.Round(f), 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case a >= 10:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return strconv.FormatFloat(f, 'f', 3, 64)
}

// spreadSheet is a table of spreads.
func spreadSheet(head ...string) *sheet {
	return newSheet("", append(head, "min", "median", "max")...)
}

// with adds a row of a spread.
func (s *sheet) with(v spread, first ...any) { s.add(append(first, v.cells()...)...) }

// markdownOf renders a table for a page.
func markdownOf(s *sheet) string {
	head := s.head
	if len(head) == 0 {
		head = make([]string, 2)
	}
	lines := []string{"| " + strings.Join(head, " | ") + " |", "|" + strings.Repeat("---|", len(head))}
	for _, row := range s.rows {
		lines = append(lines, "| "+strings.Join(row, " | ")+" |")
	}
	return strings.Join(lines, "\n")
}
