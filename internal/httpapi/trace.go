package httpapi

import (
	"net/http"
	"regexp"
	"strings"
)

var traceForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceparent is that of the request, to be handed on with what it brings about;
// "" where there is none or it is none (W3C Trace Context, section 3.2).
func traceparent(r *http.Request) string {
	said := r.Header.Values("Traceparent")
	if len(said) != 1 || !traceForm.MatchString(said[0]) || strings.HasPrefix(said[0], "ff") ||
		strings.Contains(said[0], "-00000000000000000000000000000000-") || strings.Contains(said[0], "-0000000000000000-") {
		return ""
	}
	return said[0]
}
