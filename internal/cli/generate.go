package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// patternFlags say which texts generated codes have.
func patternFlags(f *pflag.FlagSet) {
	f.String("pattern", "", "`pattern` of the codes: # a character of the alphabet, 9 a digit, A a letter, \\ takes the next as it is")
	f.Int("length", 13, "without a pattern: `number` of random characters")
	f.String("alphabet", "", "`characters` that # and --length stand for (default 2-9 and A-Z without I, L, O)")
	f.String("prefix", "", "without a pattern: `text` before the random characters")
	f.String("suffix", "", "without a pattern: `text` behind the random characters")
	f.Float64("max-guess-odds", 1e-6, "refuse when a random guess would hit a code with better `odds`")
}

// given are those of the flags that were, under the names of their fields.
func given(f *pflag.FlagSet, names ...string) map[string]any {
	body := map[string]any{}
	for _, name := range names {
		flag := f.Lookup(name)
		if !flag.Changed {
			continue
		}
		field, text := strings.ReplaceAll(name, "-", "_"), flag.Value.String()
		switch flag.Value.Type() {
		case "int", "int64", "float64":
			body[field] = json.Number(text)
		default:
			body[field] = text
		}
	}
	return body
}

var patternNames = []string{"pattern", "length", "alphabet", "prefix", "suffix", "max-guess-odds"}

func (p *program) generateCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "generate POOL",
		Short: "Fill a pool with generated codes",
		Long: `generate makes --count codes that nobody can guess, a billion as quickly as one.
No two of a pool are alike. The same pattern again makes further ones. A pool's
codes are all generated or all uploaded.

Times are RFC 3339, such as 2026-12-31T23:59:59Z.`,
		Example: `  promopool generate beach --count 1000000
  promopool generate beach --count 50000 --pattern SUMMER-####-####
  promopool generate beach --count 1000 --length 10 --alphabet 0123456789 --prefix 49`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("count") {
				return usageError{fmt.Errorf("generate needs --count: see %s --help", cmd.CommandPath())}
			}
			body := given(cmd.Flags(), append([]string{"count", "issue-start", "issue-end", "available-from", "available-till"}, patternNames...)...)
			var header []string
			if key, _ := cmd.Flags().GetString("idempotency-key"); key != "" {
				header = []string{"Idempotency-Key", key}
			}
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], "generate"), body, header...)
			if err != nil {
				return about("pool", args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, t importTask) { t.write(w) })
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.Int64("count", 0, "`number` of codes to make")
	patternFlags(f)
	f.String("issue-start", "", "`time` from which the codes are issued")
	f.String("issue-end", "", "`time` until which the codes are issued")
	f.String("available-from", "", "`time` from which the codes are valid")
	f.String("available-till", "", "`time` until which the codes are valid")
	f.String("idempotency-key", "", "`text` by which a repeat of this very call is known, so that it makes no further codes")
	return cmd
}

type space struct {
	Pattern        string
	Alphabet       string
	Space          json.Number
	Made           int64
	Remaining      json.Number
	GuessOdds      float64  `json:"guess_odds"`
	GuessOddsAfter *float64 `json:"guess_odds_after"`
	MaxGuessOdds   float64  `json:"max_guess_odds"`
	Most           int64
	Samples        []string
	Refused        *struct{ Detail string }
}

func (s space) write(w io.Writer) {
	fmt.Fprintf(w, "pattern\t%s\nalphabet\t%s\ntexts\t%s\ncodes made\t%d\nremaining\t%s\n", s.Pattern, s.Alphabet, s.Space, s.Made, s.Remaining)
	fmt.Fprintf(w, "odds of a guess\t%s\n", odds(s.GuessOdds))
	if s.GuessOddsAfter != nil {
		fmt.Fprintf(w, "  after the count\t%s\n", odds(*s.GuessOddsAfter))
	}
	fmt.Fprintf(w, "at most\t%d more, for odds of %s\n", s.Most, odds(s.MaxGuessOdds))
	for i, text := range s.Samples {
		name := ""
		if i == 0 {
			name = "such as"
		}
		fmt.Fprintf(w, "%s\t%s\n", name, text)
	}
	if s.Refused != nil {
		fmt.Fprintf(w, "refused\t%s\n", s.Refused.Detail)
	}
}

// odds are told as one in so many.
func odds(o float64) string {
	if o == 0 {
		return "none"
	}
	return fmt.Sprintf("1 in %.4g", 1/o)
}

func (p *program) spaceCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "space POOL",
		Short: "Count the codes that a pattern holds for a pool",
		Long: `space tells how many codes a pattern holds, how many of them the pool has, with
what odds a random guess hits one, and how many more can be generated. The texts
that it shows are no codes of the pool.`,
		Example: `  promopool space beach --pattern SUMMER-####-####
  promopool space beach --length 8 --count 50000
  promopool space beach --pattern 'AAA-9999' --json | jq .most`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			for name, value := range given(cmd.Flags(), append([]string{"count"}, patternNames...)...) {
				query.Set(name, fmt.Sprint(value))
			}
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("pools", args[0], "space")+"?"+query.Encode(), nil)
			if err != nil {
				return about("pool", args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, s space) { s.write(w) })
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.Int64("count", 0, "`number` of codes more to think of")
	patternFlags(f)
	return cmd
}

type replenish struct {
	Below        int64
	Count        int64
	Pattern      string
	MaxGuessOdds float64 `json:"max_guess_odds"`
	Stopped      string
}

// text is the setting in a line.
func (r *replenish) text() string {
	switch {
	case r == nil:
		return "off"
	case r.Stopped != "":
		return "stopped: " + r.Stopped
	}
	return fmt.Sprintf("%d more of %s below %d", r.Count, r.Pattern, r.Below)
}

func (p *program) replenishCommand() *cobra.Command {
	var r remote
	var off bool
	var version int64
	cmd := &cobra.Command{
		Use:   "replenish POOL",
		Short: "Have codes generated whenever few are left",
		Long: `replenish sets a pool so that --count codes more are generated whenever fewer than
--below are left, as often as the pattern bears it. What is not given stays as it is
set. One that has stopped works again.`,
		Example: `  promopool replenish beach --below 10000 --count 100000 --pattern SUMMER-####-####
  promopool replenish beach --off`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			setting := given(cmd.Flags(), append([]string{"below", "count"}, patternNames...)...)
			if off == (len(setting) > 0) {
				return usageError{fmt.Errorf("give --off or what to set: see %s --help", cmd.CommandPath())}
			}
			body := map[string]any{"replenish": nil}
			if !off {
				body["replenish"] = setting
			}
			b, err := r.do(cmd.Context(), http.MethodPatch, pathTo("pools", args[0]), body, ifMatch(version)...)
			return p.showPool(&r, args[0], b, err)
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&off, "off", false, "generate none any more")
	f.Int64("below", 0, "`number` of codes left that is enough")
	f.Int64("count", 0, "`number` of codes to make when fewer are left")
	patternFlags(f)
	versionFlag(f, &version)
	return cmd
}
