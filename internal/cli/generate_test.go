package cli

import (
	"strings"
	"testing"
)

// TestGenerateFromTerminal fills a pool with generated codes.
func TestGenerateFromTerminal(t *testing.T) {
	c := newCounter(t)
	c.Run(done, words("campaign create a")...)
	c.Run(done, words("pool create beach --campaign a")...)
	c.Shows(words("space beach --pattern SUMMER-####-#### --count 1000"),
		"pattern SUMMER-####-####", "texts 852891037441", "codes made 0", "odds of a guess none", "after the count 1 in 8.529e+08", "at most 852891 more, for odds of 1 in 1e+06", "such as SUMMER-")
	c.Shows(words("generate beach --count 1000 --pattern SUMMER-####-#### --issue-end 2100-01-01T00:00:00Z --idempotency-key k"),
		"pool beach", "status completed", "generation of SUMMER-####-####", "added 1000")
	c.Run(done, words("generate beach --count 1000 --pattern SUMMER-####-#### --issue-end 2100-01-01T00:00:00Z --idempotency-key k")...)
	c.Shows(words("generate beach --count 7 --length 12 --alphabet abcdefgh --prefix x --suffix y"), "added 7", `generation of x############y`)
	c.Shows(words("stock beach"), "available 1007")
	c.Shows(words("space beach --pattern A-#### --count 50"), "refused the pattern has 24011546 texts")
	if out, _ := c.Run(done, words("space beach --json --length 13")...); !strings.Contains(out, `"space": 24417546297445042591`) {
		t.Errorf("got %s", out)
	}
	c.Fails("Take more random characters", words("generate beach --count 2 --pattern 999999")...)
	c.Shows(words("replenish beach --below 50 --count 100 --pattern SUMMER-####-####"), "replenish 100 more of SUMMER-####-#### below 50")
	c.Shows(words("replenish beach --below 60"), "replenish 100 more of SUMMER-####-#### below 60")
	c.Shows(words("replenish beach --off"), "replenish off")
	c.Fails(`there is no pool "x"`, words("generate x --count 1")...)
	for want, line := range map[string]string{
		"needs --count": "generate beach",
		"give --off or": "replenish beach",
	} {
		if _, err := c.Run(misused, words(line)...); !strings.Contains(err, want) {
			t.Errorf("%s: got %s", line, err)
		}
	}
}
