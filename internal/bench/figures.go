package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Figures is what a measure reports that is a list of figures.
type Figures struct {
	Settings Settings `json:"settings"`
	Figures  []Figure `json:"figures"`
}

// Figure is one quantity over the rounds of a run. Ratios are of figures of the
// same round.
type Figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // by round
	Spread
}

// add notes what a round measured of a quantity.
func (f *Figures) add(name, unit string, value float64) {
	i := slices.IndexFunc(f.Figures, func(g Figure) bool { return g.Name == name })
	if i < 0 {
		i = len(f.Figures)
		f.Figures = append(f.Figures, Figure{Name: name, Unit: unit})
	}
	g := &f.Figures[i]
	g.Values = append(g.Values, value)
	g.Spread = spreadOf(g.Values)
}

// Of is the figure of that name; a zero one where it was not measured.
func (f *Figures) Of(name string) Figure {
	for _, g := range f.Figures {
		if g.Name == name {
			return g
		}
	}
	return Figure{Name: name}
}

// WriteJSON writes the report for programs.
func (f *Figures) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(f)
}

// WriteTable writes the report for people.
func (f *Figures) WriteTable(out io.Writer) error {
	s := f.Settings
	fmt.Fprintf(out, "Kafka: %s; PostgreSQL %s; %s, %s; %d cores for everything\n\n", s.Kafka, s.PostgreSQL, s.Go, s.System, s.Cores)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tmedian\tleast … most\trounds\t")
	for _, g := range f.Figures {
		fmt.Fprintf(t, "%s\t%s %s\t%s … %s\t%d\t\n", g.Name, decimal(g.Median), g.Unit, decimal(g.Least), decimal(g.Most), len(g.Values))
	}
	return t.Flush()
}

// decimal shows three significant figures or more.
func decimal(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Least: sorted[0], Most: sorted[n-1]}
}
