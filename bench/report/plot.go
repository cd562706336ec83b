package report

import (
	"bytes"
	"encoding/xml"
	"fmt"

	"github.com/backplane/leptir/bench/suite"
)

// Measures of the plot, in pixels.
const (
	plotWidth  = 860
	labelWidth = 250
	barWidth   = 400
	rowHeight  = 20
	titleSpace = 34
)

// Plot draws the results as SVG: for each metric of each case a bar for the median of each
// arm, a line from the least to the most, and the figures beside it.
func Plot(all []suite.Result) []byte {
	var body bytes.Buffer
	y := 10
	for i := range all {
		r := &all[i]
		for _, m := range r.Metrics {
			y = panel(&body, r, m, y)
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, y+10)
	out.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	out.Write(body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// panel draws one metric of one case and returns where the next begins.
func panel(b *bytes.Buffer, r *suite.Result, m suite.Metric, y int) int {
	most := 0.0
	for i := range r.Arms {
		if s, ok := r.Arms[i].Of(m.Name); ok {
			most = max(most, s.Max)
		}
	}
	if most == 0 {
		return y
	}
	title := r.Title + ": " + m.Unit
	if len(r.Metrics) > 1 {
		title = r.Title + ": " + m.Name + ", " + m.Unit
	}
	if m.Lower {
		title += " (less is better)"
	}
	label(b, 10, y+20, "start", `font-weight="bold"`, title)
	y += titleSpace
	x := func(f float64) float64 { return labelWidth + barWidth*f/most }
	for i := range r.Arms {
		a := &r.Arms[i]
		s, ok := a.Of(m.Name)
		if !ok {
			continue
		}
		fill := "#4878a8"
		if a.Name == r.Ref {
			fill = "#a0a0a0"
		}
		label(b, labelWidth-8, y+12, "end", "", a.Name)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="12" fill="%s"/>`+"\n", labelWidth, y+2, x(s.Median)-labelWidth, fill)
		fmt.Fprintf(b, `<path d="M%.1f %dH%.1fM%.1f %dv6M%.1f %dv6" stroke="black" fill="none"/>`+"\n",
			x(s.Min), y+8, x(s.Max), x(s.Min), y+5, x(s.Max), y+5)
		label(b, labelWidth+barWidth+10, y+12, "start", "", spread(s))
		y += rowHeight
	}
	return y + 6
}

func label(b *bytes.Buffer, x, y int, anchor, more, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" %s>`, x, y, anchor, more)
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes everything
	b.WriteString("</text>\n")
}
