// Package domain is the specification of promopool in Go: pools and their
// rules, lots, runs, the assignment of codes to requests, and the events that
// tell of it. It imports nothing of the project, does no I/O and asks no
// clock: time is passed in. What it decides becomes true when package postgres
// has committed it, and known when package producer has published it.
package domain
