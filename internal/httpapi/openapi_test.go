package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"promopool/internal/domain"
)

// contract is schemas/openapi.yaml, and what of it was seen to be kept.
type contract struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
	seen     map[string]bool // "GET /v1/pools 200"
}

func readContract(t *testing.T) *contract {
	t.Helper()
	text, err := os.ReadFile("../../schemas/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}, seen: map[string]bool{}}
	if err := yaml.Unmarshal(text, &c.doc); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(c.doc)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return c
}

// operations lists "GET /v1/pools" and so on.
func (c *contract) operations() map[string]map[string]any {
	all := map[string]map[string]any{}
	for path, item := range c.doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if method != "parameters" {
				all[strings.ToUpper(method)+" "+path] = op.(map[string]any)
			}
		}
	}
	return all
}

// Check holds an answer against what the contract says of its route.
func (c *contract) Check(t *testing.T, route string, r *http.Response, body []byte) {
	t.Helper()
	path := "#/components/responses/Problem" // where no route is, there is no other word
	if op, ok := c.operations()[route]; ok {
		status := r.Status[:3]
		responses := op["responses"].(map[string]any)
		if _, ok := responses[status]; !ok && r.StatusCode >= 500 {
			status = "default" // what can happen everywhere; the rest is told
		}
		if _, ok := responses[status]; !ok {
			t.Errorf("%s: %s is not in openapi.yaml", route, r.Status)
			return
		}
		c.seen[route+" "+status] = true
		method, where, _ := strings.Cut(route, " ")
		path = "#/paths/" + escaped.Replace(where) + "/" + strings.ToLower(method) + "/responses/" + status
		if ref, ok := responses[status].(map[string]any)["$ref"]; ok {
			path = ref.(string)
		}
	}
	response := c.at(path)
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if r.Header.Get(name) == "" {
			t.Errorf("%s: %s without the header %s", route, r.Status, name)
		}
	}
	content, _ := response["content"].(map[string]any)
	if content == nil && len(body) == 0 {
		return
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch _, ok := content[media]; {
	case !ok:
		t.Errorf("%s: %s with %q", route, r.Status, media)
	case strings.HasSuffix(media, "json"):
		c.validate(t, path+"/content/"+escaped.Replace(media)+"/schema", route, r.Status, body)
	}
}

// escaped makes a name a part of a JSON pointer in a URL.
var escaped = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")

// at is the object that a pointer names.
func (c *contract) at(pointer string) map[string]any {
	found := c.doc
	for _, name := range strings.Split(pointer, "/")[1:] {
		name = strings.NewReplacer("%7B", "{", "%7D", "}", "~1", "/", "~0", "~").Replace(name)
		found = found[name].(map[string]any)
	}
	return found
}

func (c *contract) validate(t *testing.T, pointer, route, status string, body []byte) {
	t.Helper()
	s := c.schemas[pointer]
	if s == nil {
		var err error
		if s, err = c.compiler.Compile("openapi.json" + pointer); err != nil {
			t.Fatalf("%s %s: %v", route, status, err)
		}
		c.schemas[pointer] = s
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = s.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %s leaves its schema: %v\n%s", route, status, err, body)
	}
}

// TestRefusalReasons holds the reasons of the contract against the program's.
func TestRefusalReasons(t *testing.T) {
	var got []string
	for _, reason := range readContract(t).at("#/components/schemas/Refusal/properties/reason")["enum"].([]any) {
		got = append(got, reason.(string))
	}
	var want []string
	for _, reason := range domain.RefusalReasons() {
		want = append(want, string(reason))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
