// Package lull waits until nobody comes any more, for so short a time that a timer
// could not: batches that were fetched or decided together are handed over at the
// same moment, and the first would go alone.
package lull

import "time"

// Await returns when the number of those who wait has stayed the same for so long, or
// when enough says that no more are wanted. pass lets others run meanwhile: it is
// runtime.Gosched, but in fake time, which stands still as long as anybody runs, it
// has to sleep.
func Await(long time.Duration, pass func(), waiting func() (n int, enough bool)) {
	seen := 0
	for quiet := time.Now(); time.Since(quiet) < long; {
		pass() // first, so that those are counted who come at the same moment
		n, enough := waiting()
		if enough {
			return
		}
		if n != seen {
			seen, quiet = n, time.Now()
		}
	}
}
