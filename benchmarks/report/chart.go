package main

import (
	"bytes"
	"fmt"
	"html"
)

// A bar is one comparison of the chart: what gitlabjobs needs of what client-go does.
type bar struct {
	id, label  string
	metric     metric
	ours, peer string // names in the tables
}

var bars = []bar{
	{download, "64 MiB archive: time", wall, ours + ", " + small, official + ", " + small},
	{download, "64 MiB archive: peak memory", peak, ours + ", " + small, official + ", " + small},
	{decode, "100 jobs: time to decode", perOp, ours, official},
	{decode, "100 jobs: bytes allocated", allocBytes, ours, official},
	{list, "5,000 jobs: time", wall, ours + ", " + inBatches, official + ", " + inBatches},
	{list, "5,000 jobs: requests by default", requests, ours + ", " + asConfigured, official + ", " + asConfigured},
	{get, "one job: time", perOp, ours + ", 1 at once", official + ", 1 at once"},
	{get, "one job: allocations", allocs, ours + ", 1 at once", official + ", 1 at once"},
	{binaries, "hello world: binary", size, ours, official},
	{follow, "32 MiB log: peak memory", peak, ours + ", " + largeLog, official + ", " + largeLog},
}

// The chart's measures, in pixels.
const (
	chartWidth = 720
	barLeft    = 230
	barFull    = 400 // a bar of 100%
	barHeight  = 18
	barPitch   = 28
	chartTop   = 56
)

// chart draws what gitlabjobs needs as shares of what client-go does.
func chart(results []result) []byte {
	find := func(id string) (result, bool) {
		for _, r := range results {
			if r.id == id {
				return r, true
			}
		}
		return result{}, false
	}
	var rows bytes.Buffer
	y := chartTop
	for _, row := range bars {
		r, ok := find(row.id)
		if !ok {
			continue
		}
		mine, ok1 := r.median(row.ours, row.metric)
		theirs, ok2 := r.median(row.peer, row.metric)
		if !ok1 || !ok2 || theirs == 0 {
			continue
		}
		share := mine / theirs
		width := min(share, 1.15) * barFull
		fmt.Fprintf(&rows, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLeft-10, y+13, html.EscapeString(row.label))
		fmt.Fprintf(&rows, `<rect x="%d" y="%d" width="%d" height="%d" fill="#e6e6e6"/>`, barLeft, y, barFull, barHeight)
		fmt.Fprintf(&rows, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="#e2632a"/>`, barLeft, y, width, barHeight)
		fmt.Fprintf(&rows, `<text x="%d" y="%d">%s%%</text>`+"\n", barLeft+barFull+40, y+13, number(share*100))
		y += barPitch
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13" fill="#333">`+"\n", chartWidth, y+10)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, y+10)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">What gitlabjobs needs (orange) of what client-go does (gray, 100%%)</text>`+"\n", 16)
	fmt.Fprintf(&b, `<text x="%d" y="42" fill="#777">less is better; medians, see RESULTS.md</text>`+"\n", 16)
	b.Write(rows.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}
