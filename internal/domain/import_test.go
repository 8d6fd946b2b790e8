package domain

import (
	"testing"
	"time"
)

func TestImportPace(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	running := Import{
		Status: ImportRunning, Bytes: 1000, BytesDone: 400, Rows: 80, AskedAt: at.Add(time.Second),
		Pace: Pace{At: at, Seconds: 2, Rows: 40, Bytes: 200, Busy: 4 * time.Second},
	}
	with := func(change func(*Import)) Import {
		i := running
		change(&i)
		return i
	}
	tests := []struct {
		name     string
		i        Import
		rate     float64
		known    bool
		left     time.Duration
		foretold bool
	}{
		{"Running", running, 20, true, 5 * time.Second, true},
		{"Waiting", with(func(i *Import) { i.Status, i.Pace = ImportWaiting, Pace{} }), 0, false, 0, false},
		{"JustClaimed", with(func(i *Import) { i.Pace = Pace{At: at} }), 0, false, 0, false},
		{"Stalled", with(func(i *Import) { i.AskedAt = at.Add(stalled) }), 0, false, 0, false},
		{"Late", with(func(i *Import) { i.AskedAt = at.Add(8 * time.Second) }), 20, true, 0, true},
		{"NoBytes", with(func(i *Import) { i.Pace.Bytes = 0 }), 20, true, 0, false},
		{"NextToNothing", with(func(i *Import) { i.Pace.Bytes = 1e-300 }), 20, true, maxLeft - time.Second, true},
		{"Completed", with(func(i *Import) { i.Status, i.AskedAt = ImportCompleted, at.Add(time.Hour) }), 20, true, 0, true},
		{"Cancelled", with(func(i *Import) { i.Status = ImportCancelled }), 20, true, 0, true},
		{"NeverRun", with(func(i *Import) { i.Status, i.Pace = ImportCancelled, Pace{} }), 0, false, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rate, known := tt.i.RowsPerSecond()
			if known != tt.known || known && rate != tt.rate {
				t.Errorf("rate: got %v, %t, want %v, %t", rate, known, tt.rate, tt.known)
			}
			if left, ok := tt.i.Left(); left != tt.left || ok != tt.foretold {
				t.Errorf("left: got %v, %t, want %v, %t", left, ok, tt.left, tt.foretold)
			}
		})
	}
}
