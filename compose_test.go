package promopool_test

import (
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"promopool/internal/kafkatest"
)

// TestComposeFile checks docker-compose.yml against the Compose Specification's
// schema (Apache-2.0, from github.com/compose-spec/compose-go v2.16.2).
func TestComposeFile(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("testdata/compose-spec/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(file); err != nil {
		t.Fatal(err)
	}

	kafka := file["services"].(map[string]any)["kafka"].(map[string]any)
	if got, want := kafka["image"], "apache/kafka:"+kafkatest.Version; got != want {
		t.Errorf("image of kafka: %v, want %s, which the tests run", got, want)
	}
}
