package issuing_test

import (
	"fmt"
	"slices"
	"testing"
)

// TestTouched: an issuer tells which pools codes went out from, each time what is
// new.
func TestTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c", "sold"} {
		w.Pool(id, 100)
	}
	w.Exec("UPDATE runs SET next = hi FROM pools p WHERE p.pool = runs.pool AND p.id = 'sold'")
	i, parts := crew(w, 1, 1)
	touched := func(want ...string) {
		t.Helper()
		var got []string
		for _, key := range i[0].Touched() {
			got = append(got, w.id(key))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	work := func(ids ...string) {
		t.Helper()
		for n, id := range ids {
			w.Publish(0, asks(id, fmt.Sprint(id, n, len(w.logs[0])), 3)...)
		}
		if err := parts[0].Work(1000); err != nil {
			t.Fatal(err)
		}
	}
	touched()
	work("a", "b", "sold")
	touched("a", "b")
	touched()
	work("b", "sold")
	work("c")
	touched("b", "c")
}

func (w *world) id(pool int32) (id string) {
	w.Helper()
	if err := w.sql.QueryRow(w.ctx(), "SELECT id FROM pools WHERE pool = $1", pool).Scan(&id); err != nil {
		w.Fatal(err)
	}
	return id
}
