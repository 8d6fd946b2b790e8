package planted

import (
	"fmt"
	"strings"
)

// bug is one that a patch plants.
type bug struct {
	name   string // of its patch
	what   string // is wrong
	breaks string // what it would come to, unnoticed

	// the test that fails
	pkg, run string
	args     []string
	says     string // among what it says then
}

// simulation is a campaign of some events that begins with seed 1.
func simulation(events int, b bug) bug {
	b.pkg, b.run, b.args = "internal/simulation", "^TestSimulation$", []string{"-seed", "1", "-events", fmt.Sprint(events)}
	return b
}

// Events of campaigns: some bugs need a rarer turn of events.
const (
	short = 20_000
	long  = 400_000
)

// command is how the test is run by hand.
func (b bug) command() string {
	return strings.Join(append([]string{"go test ./" + b.pkg + " -run '" + b.run + "'"}, b.args...), " ")
}

// caughtBy is the test for people.
func (b bug) caughtBy() string {
	return fmt.Sprintf("%s %s", b.pkg, strings.NewReplacer("^", "", "$", "").Replace(b.run))
}

var bugs = []bug{
	simulation(short, bug{name: "01-offset-first", what: "the group's offset moves before the outcomes are published", breaks: "3 every request", says: "invariant 3"}),
	simulation(short, bug{name: "02-publish-from-memory", what: "after a lost answer outcomes are published from memory", breaks: "4 no phantom", says: "invariant"}),
	simulation(short, bug{name: "03-bound-too-early", what: "a batch is bound to codes before the one before is answered", breaks: "3 every request", says: "invariant 3"}),
	simulation(long, bug{name: "04-refused-unlooked", what: "a rejection without looking for the stored issue under the locks", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(short, bug{name: "05-available-till", what: "the end of a code's availability does not matter", breaks: "8 windows", says: "invariant 8"}),
	simulation(short, bug{name: "06-window-start", what: "the begin of a window is compared the wrong way", breaks: "8 windows", says: "invariant"}),
	simulation(long, bug{name: "08-others-forgotten", what: "no code is said to be left while other partitions hold some", breaks: "7 no false exhausted", says: "invariant 7"}),
	simulation(short, bug{name: "09-expired-request", what: "a request gets a code after it has expired", breaks: "8 windows", says: "invariant 8"}),
	simulation(short, bug{name: "10-anothers-code", what: "a customer is answered with another's code", breaks: "4 no phantom", says: "invariant 4"}),
	simulation(short, bug{name: "11-verdict-redated", what: "a rejection told again bears another time", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(short, bug{name: "12-range-forgotten", what: "deliveries of a known range are decided anew", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(long, bug{name: "13-clock-ahead", what: "the database's clock is carried on too fast", breaks: "8 windows", says: "invariant 8"}),
}
