package promopool_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "promopool/"

// imports says which packages of the project each package may import. Tests
// are free to import more. The graph is drawn in docs/architecture.md.
var imports = map[string][]string{
	"cmd/promopool": {"internal/cli"},

	// Programs of others would have nothing of ours but schemas/.
	"examples/analytics": {},
	"examples/mailer":    {},
	"examples/workflow":  {},

	"internal/cli": {"internal/app", "internal/bench", "internal/consumer", "internal/demo", "internal/devstack", "internal/domain", "internal/guesses", "internal/issuing", "internal/load", "internal/postgres", "internal/producer", "internal/tail", "internal/topics", "internal/verify"},
	"internal/app": {"internal/crashpoint", "internal/consumer", "internal/customers", "internal/domain", "internal/exporting", "internal/guesses", "internal/httpapi", "internal/importing", "internal/issuing", "internal/outbox", "internal/postgres", "internal/producer", "internal/redeeming", "internal/topics", "internal/watching"},

	"internal/consumer": {"internal/crashpoint", "internal/domain", "internal/issuing", "internal/producer", "internal/redeeming", "internal/topics"},
	"internal/issuing":  {"internal/domain", "internal/lull"},
	"internal/domain":   {},
	"internal/postgres": {"internal/crashpoint", "internal/customers", "internal/domain", "internal/importing", "internal/issuing", "internal/postgres/internal/conn", "internal/postgres/internal/db", "internal/redeeming", "internal/watching"},
	"internal/producer": {"internal/crashpoint", "internal/domain", "internal/lull", "internal/topics"},
	"internal/topics":   {"internal/crashpoint", "internal/domain"},

	"internal/crashpoint": {},
	"internal/customers":  {"internal/domain"},
	"internal/exporting":  {"internal/domain", "internal/importing"},
	"internal/guesses":    {"internal/domain"},
	"internal/httpapi":    {"internal/domain", "internal/guesses"},
	"internal/importing":  {"internal/domain"},
	"internal/lull":       {},
	"internal/load":       {"internal/consumer", "internal/domain", "internal/producer", "internal/tail"},
	"internal/outbox":     {"internal/domain"},
	"internal/redeeming":  {"internal/domain"},
	"internal/tail":       {"internal/consumer", "internal/domain", "internal/topics"},
	"internal/verify":     {"internal/consumer", "internal/domain", "internal/topics"},
	"internal/watching":   {"internal/domain"},

	"internal/postgres/internal/conn": {"internal/crashpoint", "internal/postgres/internal/db"},
	"internal/postgres/internal/db":   {}, // generated

	"internal/child":    {},
	"internal/devstack": {"internal/child"},

	"internal/bench": {
		"internal/child", "internal/consumer", "internal/devstack", "internal/domain", "internal/issuing", "internal/kafkatest",
		"internal/load", "internal/postgres", "internal/producer", "internal/topics",
	},

	"internal/demo": {
		"internal/child", "internal/consumer", "internal/devstack", "internal/domain", "internal/load",
		"internal/producer", "internal/tail", "internal/topics", "internal/verify",
	},

	// For tests, and the bench.
	"internal/kafkatest": {"internal/child", "internal/devstack"},
	"internal/pgtest":    {"internal/devstack"},
}

// owners says which packages may import a library, which is the name of a
// module or of a folder in one. A library without a row is anybody's.
var owners = map[string][]string{
	"github.com/segmentio/kafka-go": {
		"examples/analytics", "examples/mailer", "examples/workflow",
		"internal/app", "internal/bench", "internal/consumer", "internal/devstack", "internal/kafkatest", "internal/load", "internal/producer", "internal/tail", "internal/topics", "internal/verify",
	},
	"github.com/jackc/pgx/v5": {
		"internal/app", "internal/bench", "internal/devstack", "internal/pgtest", "internal/postgres", "internal/postgres/internal/conn", "internal/postgres/internal/db", "internal/verify",
	},
	"github.com/pressly/goose/v3":                {"internal/postgres"},
	"github.com/xuri/excelize/v2":                {"internal/importing"},
	"github.com/twmb/franz-go/pkg/kfake":         {"internal/devstack"},
	"github.com/twmb/franz-go/pkg/kmsg":          {"internal/topics"},
	"github.com/fergusstrange/embedded-postgres": {"internal/devstack"},
	"github.com/spf13/cobra":                     {"internal/cli"},
	"github.com/spf13/pflag":                     {"internal/cli"},
	"github.com/rs/zerolog": {
		"internal/app", "internal/bench", "internal/cli", "internal/consumer", "internal/customers", "internal/demo", "internal/devstack", "internal/guesses", "internal/httpapi", "internal/importing", "internal/issuing", "internal/outbox", "internal/producer", "internal/watching",
	},
	"testing": {"internal/kafkatest", "internal/pgtest"},
}

// TestImports holds the import graph: the shape that a reader relies on.
func TestImports(t *testing.T) {
	packages := packageImports(t)
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		allowed, ok := imports[pkg]
		if !ok {
			t.Errorf("%s has no row in deps_test.go: say what it may import", pkg)
		}
		for _, path := range packages[pkg] {
			if name, ours := strings.CutPrefix(path, module); ours && !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s, which its row in deps_test.go does not allow", pkg, name)
			}
		}
	}
	for pkg := range imports {
		if _, ok := packages[pkg]; !ok {
			t.Errorf("deps_test.go has a row for %s, which is no package", pkg)
		}
	}
}

func TestOwners(t *testing.T) {
	used := map[string]bool{}
	for pkg, paths := range packageImports(t) {
		for _, path := range paths {
			for library, owning := range owners {
				if path != library && !strings.HasPrefix(path, library+"/") {
					continue
				}
				used[library] = true
				if !slices.Contains(owning, pkg) {
					t.Errorf("%s imports %s, which only %s may", pkg, path, strings.Join(owning, ", "))
				}
			}
		}
	}
	for library := range owners {
		if !used[library] {
			t.Errorf("deps_test.go has a row for %s, which nobody imports", library)
		}
	}
}

// packageImports returns what the non-test files of each package import. They
// are read in this process: what a child process reads is hidden from the test
// cache, which would then answer for a tree that has changed.
func packageImports(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || file != "." && strings.HasPrefix(name, ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(file)
		found := packages[pkg]
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if !slices.Contains(found, imported) {
				found = append(found, imported)
			}
		}
		packages[pkg] = found
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}
