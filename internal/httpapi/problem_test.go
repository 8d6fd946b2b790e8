package httpapi_test

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblemTypes holds the types of problems in the contract, with what to do
// about each, against those that the code has.
func TestProblemTypes(t *testing.T) {
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]string{}
	for _, m := range regexp.MustCompile(`= kind\{"(.+)", http\.Status(\w+), "(.+)"\}`).FindAllStringSubmatch(string(source), -1) {
		code["/problems/"+m[1]] = m[2] + " " + m[3]
	}
	contract := map[string]string{}
	for _, entry := range readContract(t).at("#/components/schemas/Problem/properties/type")["oneOf"].([]any) {
		e := entry.(map[string]any)
		status, todo, _ := strings.Cut(e["description"].(string), ". ")
		number, err := strconv.Atoi(status)
		if err != nil || !strings.HasSuffix(todo, ".") {
			t.Errorf("%s: want a status and a sentence, got %s", e["const"], e["description"])
		}
		contract[e["const"].(string)] = strings.ReplaceAll(http.StatusText(number), " ", "") + " " + e["title"].(string)
	}
	if diff := cmp.Diff(code, contract); diff != "" || len(code) < 20 {
		t.Errorf("problem.go (-) and openapi.yaml (+): %s", diff)
	}
}
