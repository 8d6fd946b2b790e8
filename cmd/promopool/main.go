// Promopool hands out promo codes: it answers every code request on Kafka with
// exactly one code of the pool that the request names.
//
//	promopool dev        Kafka, PostgreSQL and the service on this machine
//	promopool demo       the same, put to the test, with a report at the end
//	promopool serve      the service
//	promopool migrate    bring the database's schema up to date
//
//	promopool campaign   create, list, rename and delete campaigns
//	promopool pool       create, list, change, archive and delete pools
//	promopool import     fill a pool from a file of codes
//	promopool imports    list, follow and cancel imports, get their files back
//	promopool generate   fill a pool with generated codes, a billion at once
//	promopool space      count the codes that a pattern holds
//	promopool replenish  have codes generated whenever few are left
//	promopool launch     let requests get codes of a pool
//	promopool stock      count a pool's codes
//	promopool code       look a code up, export all
//	promopool issuance   look up which code a request was given
//
//	promopool request    publish code requests
//	promopool tail       print events as they come
//	promopool verify     audit the topics and the database
//	promopool bench      measure
//
// promopool COMMAND --help says what a command does, with examples. promopool
// completion bash, zsh or fish prints a script by which the shell completes
// commands, flags, and the pools, campaigns and imports of the server.
//
// Every flag has an environment variable: --database-url is
// PROMOPOOL_DATABASE_URL. The flag wins over the variable, the variable over
// the default; an empty variable counts as none. What a command answers goes
// to standard output, logs and errors to standard error; an error is one line.
//
// The exit status is 0 when the command did its work, 1 when it could not, 2
// when it was called wrongly, and 130 when a signal interrupted it. SIGINT or
// SIGTERM ends dev and serve in order, with status 0; a second one ends any
// command at once.
package main

import (
	"os"

	"promopool/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
