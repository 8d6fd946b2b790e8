package postgres_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnregisteredWrite plants a write that goes past its crash point, and sees the
// test of what it writes fail, because PostgreSQL refuses it.
func TestUnregisteredWrite(t *testing.T) {
	const (
		file       = "pools.go"
		registered = `answered(ctx, s.conns, crashpoint.DeleteCodes, func(ctx context.Context, q *db.Queries) (int64, error) {
			return q.DeleteCodes(ctx, db.DeleteCodesParams{Pool: pool, AtMost: codesAtOnce})
		})`
		planted = `s.q.DeleteCodes(ctx, db.DeleteCodesParams{Pool: pool, AtMost: codesAtOnce})`
	)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), registered) {
		t.Fatalf("%s does not delete codes as it did: the plant is out of date", file)
	}
	here, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{here: filepath.Join(dir, file)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{file: strings.Replace(string(text), registered, planted, 1), "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told, err := exec.Command("go", "test", "-count=1", "-overlay", filepath.Join(dir, "overlay.json"), "-run", "^TestOrphansDeleted$", ".").CombinedOutput()
	if err == nil || !strings.Contains(string(told), "cannot execute DELETE in a read-only transaction (SQLSTATE 25006)") {
		t.Errorf("want the test to fail for a write over a connection that is for reading, got %v:\n%s", err, told)
	}
	t.Logf("%s", told)
}
