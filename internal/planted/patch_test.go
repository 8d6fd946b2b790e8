package planted

import (
	"fmt"
	"strings"
	"testing"
)

// apply returns the files that a patch (a unified diff) touches as they are after it.
// A hunk goes where its old lines are, whatever its numbers say, so that what is
// written above it does not matter; they must be in one place only.
func apply(patch string, read func(file string) (string, error)) (map[string]string, error) {
	texts := map[string]string{}
	var file string
	var was, becomes strings.Builder
	flush := func() error {
		defer was.Reset()
		defer becomes.Reset()
		if was.Len() == 0 && becomes.Len() == 0 {
			return nil
		}
		if n := strings.Count("\n"+texts[file], "\n"+was.String()); n != 1 {
			return fmt.Errorf("%s has the lines of a hunk %d times:\n%s", file, n, was.String())
		}
		texts[file] = strings.TrimPrefix(strings.Replace("\n"+texts[file], "\n"+was.String(), "\n"+becomes.String(), 1), "\n")
		return nil
	}
	for line := range strings.Lines(patch) {
		var err error
		switch name, named := strings.CutPrefix(line, "+++ b/"); {
		case named:
			err = flush()
			if file = strings.TrimSpace(name); texts[file] == "" && err == nil {
				texts[file], err = read(file)
			}
		case strings.HasPrefix(line, "--- a/"), strings.HasPrefix(line, "@@"):
			err = flush()
		case file == "": // what is said before
		case strings.HasPrefix(line, "-"):
			was.WriteString(line[1:])
		case strings.HasPrefix(line, "+"):
			becomes.WriteString(line[1:])
		case strings.HasPrefix(line, " "):
			was.WriteString(line[1:])
			becomes.WriteString(line[1:])
		default:
			err = fmt.Errorf("no line of a patch: %q", line)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("a patch of nothing")
	}
	return texts, flush()
}

func TestApply(t *testing.T) {
	const patch = "why\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n@@ -9,1 +9,2 @@\n nine\n+ten\n"
	for name, c := range map[string]struct{ patch, text, want string }{
		"Moved":     {patch, "zero\none\ntwo\nnine\n", "zero\none\n2\nnine\nten\n"},
		"Twice":     {patch, "one\ntwo\nnine\none\ntwo\n", ""},
		"Gone":      {patch, "one\nzwei\nnine\n", ""},
		"Nothing":   {"why\n", "one\n", ""},
		"Malformed": {patch + "?\n", "one\ntwo\nnine\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apply(c.patch, func(string) (string, error) { return c.text, nil })
			if (err != nil) != (c.want == "") || err == nil && got["f"] != c.want {
				t.Errorf("got %q, %v, want %q", got["f"], err, c.want)
			}
		})
	}
}
