package domain

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxCode is the longest code in bytes.
const MaxCode = 200

// CleanCode is the code that a text means: outer blanks trimmed, in Unicode's
// form NFC, so that what looks the same is the same. reason is empty, or says
// why the text is no code.
func CleanCode(s string) (code string, reason RefusalReason) {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			plain = false
			break
		}
	}
	if !plain {
		if !utf8.ValidString(s) {
			return "", NotUTF8
		}
		s = norm.NFC.String(strings.TrimSpace(s))
		if strings.ContainsFunc(s, unicode.IsControl) {
			return "", CodeControl
		}
	}
	switch {
	case s == "":
		return "", EmptyCode
	case len(s) > MaxCode:
		return "", CodeTooLong
	}
	return s, ""
}
