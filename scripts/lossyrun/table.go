//go:build linux

package main

import (
	"fmt"
	"strings"
)

// line is one cell for somebody who waits.
func (r result) line() string {
	more := ""
	if r.Wrong > 0 {
		more = fmt.Sprintf(", %d wrong", r.Wrong)
	}
	if r.Beside > 0 {
		more += fmt.Sprintf(", the download %.1f Mbit/s", r.Beside)
	}
	return fmt.Sprintf("%s, %s, %s: %s%s; %.2f × the programme's bytes, load %s", r.Row, r.Way, r.System, r.cell(), more, r.Times, r.Load)
}

// cell is the part that came whole, and how late, in ms.
func (r result) cell() string {
	return fmt.Sprintf("%s: %s, %s, %s", share(r.Whole, r.Objects), late(r.P50), late(r.P95), late(r.P99))
}

// share never says 1 if something is missing.
func share(n, of int) string {
	if n == of {
		return "1.0"
	}
	return fmt.Sprintf("%.3f", min(float64(n)/float64(of), .999))
}

func late(ms *float64) string {
	switch {
	case ms == nil:
		return "never"
	case *ms < 10_000:
		return fmt.Sprintf("%.0f", *ms)
	}
	return fmt.Sprintf("%.1f s", *ms/1000)
}

// table prints all rows that were measured, as docs/performance.md has them.
func (c *config) table(list []row, done map[string]result) error {
	var b strings.Builder
	b.WriteString("| path | way | the tools: part, p50, p95, p99 | SRT | HLS | bytes, × the programme's |\n|---|---|---|---|---|---|\n")
	for _, r := range list {
		for _, way := range r.ways {
			cells, times, found := []string{}, []string{}, false
			for _, system := range systems[way] {
				got, ok := done[result{Row: r.name, Way: way, System: system, Seconds: int(c.lasts(r).Seconds())}.key()]
				if !ok {
					cells, times = append(cells, ""), append(times, "–")
					continue
				}
				found = true
				text := got.cell()
				if r.neighbour {
					text += fmt.Sprintf("; download %.1f Mbit/s", got.Beside)
				}
				cells, times = append(cells, text), append(times, fmt.Sprintf("%.2f", got.Times))
			}
			for len(cells) < 3 {
				cells = append(cells, "")
			}
			if found {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.name, way, strings.Join(cells, " | "), strings.Join(times, ", "))
			}
		}
	}
	_, err := fmt.Fprint(c.out, b.String())
	return err
}
