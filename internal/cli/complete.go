package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionTimeout is how long a person who pressed Tab waits for the server.
const completionTimeout = time.Second

// candidate is one of what the server lists, of whichever kind.
type candidate struct {
	ID       string
	Name     string
	State    string
	Task     int64
	PoolID   string `json:"pool_id"`
	Status   string
	FileName string `json:"file_name"`
	Pattern  string
}

func (c candidate) named() (word, tells string) { return c.ID, c.Name }

// place is a word of usage lines that stands for something the server lists.
type place struct {
	list     string // under /v1
	searched bool   // the list takes q
	word     func(candidate) (word, tells string)
}

var places = map[string]place{
	"CAMPAIGN": {"campaigns", true, candidate.named},
	"POOL":     {"pools", true, candidate.named},
	"STAFF":    {"staff", true, candidate.named},
	"TASK": {"imports", false, func(c candidate) (string, string) {
		return strconv.FormatInt(c.Task, 10), strings.TrimSpace(strings.Join([]string{c.PoolID, statusText(c.Status), c.FileName + c.Pattern}, " "))
	}},
}

// fitting says of which candidates a command can make use, where not of all.
var fitting = map[string]func(candidate) bool{
	"promopool launch":         func(c candidate) bool { return c.State == "draft" },
	"promopool pool delete":    func(c candidate) bool { return c.State == "draft" },
	"promopool pool archive":   func(c candidate) bool { return c.State == "active" },
	"promopool import":         func(c candidate) bool { return c.State != "archived" },
	"promopool generate":       func(c candidate) bool { return c.State != "archived" },
	"promopool imports cancel": func(c candidate) bool { return c.Status == "waiting" || c.Status == "running" },
}

// complete has the shell complete what a command takes: arguments by the words
// of its usage line, flags by what stands for their values in the help.
func complete(cmd *cobra.Command) {
	if words := strings.Fields(cmd.Use)[1:]; cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			word := strings.Trim(words[len(args)], "[]")
			if word == "FILE" {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return listed(word)(cmd, args, begun)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		what := cobra.NoFileCompletions
		switch placeholder, _ := pflag.UnquoteUsage(f); {
		case f.Name == "campaign":
			what = listed("CAMPAIGN")
		case placeholder == "file":
			what = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
		case placeholder == "folder":
			what = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		completeFlag(cmd, f.Name, what)
	})
}

// among completes a flag with the few values that it takes.
func among[S ~string](cmd *cobra.Command, flag string, values ...S) {
	words := make([]cobra.Completion, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	completeFlag(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func completeFlag(cmd *cobra.Command, flag string, by cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(err) // no such flag, or twice
	}
}

// listed completes a word of a usage line with what the server lists. A server
// that does not answer soon leaves it as it is: a shell shows no errors.
func listed(word string) cobra.CompletionFunc {
	of, ok := places[word]
	if !ok {
		return cobra.NoFileCompletions
	}
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		if fromEnvironment(cmd.Flags(), os.LookupEnv) != nil {
			return nil, none
		}
		fits := fitting[cmd.CommandPath()]
		var found []cobra.Completion
		for _, c := range candidates(cmd, of, begun) {
			if name, tells := of.word(c); strings.HasPrefix(name, begun) && (fits == nil || fits(c)) {
				found = append(found, cobra.CompletionWithDesc(name, tells))
			}
		}
		return found, none | cobra.ShellCompDirectiveKeepOrder
	}
}

// candidates are the first thousand that the server lists; none where it does
// not answer.
func candidates(cmd *cobra.Command, of place, begun string) []candidate {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	r := remote{server: cmd.Flag("server").Value.String(), tokenFile: cmd.Flag("token-file").Value.String()}
	query := asking(map[string]string{"limit": "1000"})
	if of.searched && begun != "" {
		query.Set("q", begun)
	}
	b, err := r.do(ctx, http.MethodGet, pathTo(of.list)+"?"+query.Encode(), nil)
	if err != nil {
		return nil
	}
	var page struct{ Items []candidate }
	if json.Unmarshal(b, &page) != nil {
		return nil
	}
	return page.Items
}
