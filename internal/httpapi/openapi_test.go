package httpapi_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

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

// TestRoutesDocumented: every route that the code mounts is in the contract,
// whether a test uses it or not.
func TestRoutesDocumented(t *testing.T) {
	var mounted []string
	for _, dir := range []string{".", "../app"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				switch text, _ := strconv.Unquote(l.Value); {
				case route.MatchString(text):
					mounted = append(mounted, text)
				case probe.MatchString(text):
					mounted = append(mounted, "GET "+text)
				}
				return true
			})
		}
	}
	slices.Sort(mounted)
	documented := slices.Sorted(maps.Keys(readContract(t).operations()))
	if diff := cmp.Diff(documented, mounted); diff != "" {
		t.Errorf("(-openapi.yaml +code)\n%s", diff)
	}
}

// Routes and probes are the only texts of the code that look so.
var (
	route = regexp.MustCompile(`^[A-Z]+ /`)
	probe = regexp.MustCompile(`^/[a-z]+$`)
)

// bodies are the schemas of requests, each with a request that has a field which
// it has not.
var bodies = map[string][3]string{
	"NewCampaign":       {"POST", "/v1/campaigns", `{"nonsense": 1}`},
	"NewPool":           {"POST", "/v1/pools", `{"campaign_id": "summer", "name": "x", "nonsense": 1}`},
	"PoolPatch":         {"PATCH", "/v1/pools/beach", `{"nonsense": 1}`},
	"SetReplenish":      {"PATCH", "/v1/pools/beach", `{"replenish": {"nonsense": 1}}`},
	"Generation":        {"POST", "/v1/pools/beach/generate", `{"nonsense": 1}`},
	"NewIssue":          {"POST", "/v1/pools/beach/issue", `{"nonsense": 1}`},
	"Note":              {"POST", "/v1/pools/beach/codes/none/block", `{"nonsense": 1}`},
	"Rename":            {"PATCH", "/v1/campaigns/summer", `{"nonsense": 1}`},
	"NewRedemption":     {"POST", "/v1/pools/beach/codes/none/redeem", `{"nonsense": 1}`},
	"CheckedRedemption": {"POST", "/v1/pools/beach/codes/none/check", `{"nonsense": 1}`},
	"NewStaff":          {"POST", "/v1/staff", `{"nonsense": 1}`},
	"StaffPatch":        {"PATCH", "/v1/staff/anna", `{"nonsense": 1}`},
}

// TestAnswersWhole: an answer has every field that its schema names, and no
// other, so that one which the code has no longer fails a test too.
func TestAnswersWhole(t *testing.T) {
	sometimes := map[string]string{
		"/Problem": "errors",   // where fields are wrong
		"/Import":  "refusals", // of one import that is read
	}
	var check func(at string, v any)
	check = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for _, v := range v {
				check(at, v)
			}
		case map[string]any:
			for name, v := range v {
				check(at+"/"+name, v)
			}
			properties, ok := v["properties"].(map[string]any)
			if !ok {
				return
			}
			var required []string
			always, _ := v["required"].([]any)
			for _, name := range always {
				required = append(required, name.(string))
			}
			if optional, ok := sometimes[at]; ok {
				required = append(required, optional)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(properties)), sorted(required)); diff != "" || v["additionalProperties"] != false {
				t.Errorf("%s is open (-properties +required):\n%s", at, diff)
			}
		}
	}
	for name, schema := range readContract(t).at("#/components/schemas") {
		if _, ok := bodies[name]; !ok {
			check("/"+name, schema)
		}
	}
}

// TestParametersDocumented: of a query and of a body, the contract has what the
// code takes.
func TestParametersDocumented(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach"}`)
	s.Want(201, "POST", "/v1/staff", `{"name": "Anna", "email": "anna@example.com"}`)
	fill := strings.NewReplacer("campaigns/{id}", "campaigns/summer", "staff/{id}", "staff/anna", "{scope}", "all", "{id}", "beach", "{task}", "1", "{code}", "none", "{request_id}", "none", "{redemption_id}", "none")
	for schema, request := range bodies {
		r := s.Want(422, request[0], request[1], request[2])
		documented := slices.Collect(maps.Keys(s.contract.at("#/components/schemas/" + schema)["properties"].(map[string]any)))
		if taken := names(r.body); !slices.Equal(taken, sorted(documented)) {
			t.Errorf("%s takes %q, openapi.yaml has %q", strings.Join(request[:], " "), taken, documented)
		}
	}
	for op, o := range s.contract.operations() {
		var documented []string
		parameters, _ := o["parameters"].([]any)
		for _, p := range parameters {
			p := p.(map[string]any)
			if ref, ok := p["$ref"]; ok {
				p = s.contract.at(ref.(string))
			}
			if p["in"] == "query" {
				documented = append(documented, p["name"].(string))
			}
		}
		method, path, _ := strings.Cut(op, " ")
		r := s.Do(method, fill.Replace(path)+"?nonsense=1", "A", "Content-Type", "text/csv")
		if taken := names(r.body); !slices.Equal(taken, sorted(documented)) {
			t.Errorf("the query of %s takes %q, openapi.yaml has %q", op, taken, documented)
		}
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// names are those that a problem says would be known.
func names(body []byte) []string {
	var p struct{ Detail string }
	if json.Unmarshal(body, &p) != nil { // no problem: what is not known is passed over
		return nil
	}
	m := known.FindStringSubmatch(p.Detail)
	if m == nil {
		return nil
	}
	return sorted(strings.FieldsFunc(m[1], func(r rune) bool { return r != '_' && !unicode.IsLower(r) }))
}

var known = regexp.MustCompile(`(?:the query takes \[|is not known, the (?:fields|options) are )([a-z_", ]+)`)

// TestDenials holds the reasons of the contract against the program's.
func TestDenials(t *testing.T) {
	var got []domain.Denial
	for _, reason := range readContract(t).at("#/components/schemas/NotIssued/properties/reason")["enum"].([]any) {
		got = append(got, domain.Denial(reason.(string)))
	}
	if diff := cmp.Diff(domain.Denials, got); diff != "" {
		t.Error(diff)
	}
	for _, d := range domain.Denials {
		if d.Detail() == "" {
			t.Errorf("%s says nothing", d)
		}
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
