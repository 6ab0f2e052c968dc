package main

import "github.com/spf13/cobra"

// benches lists the benchmarks: one a file, bench_*.go.
func (p *program) benches() []*cobra.Command { return nil }

func (p *program) bench() *cobra.Command {
	return group("bench", "Measure this machine", p.benches()...)
}
