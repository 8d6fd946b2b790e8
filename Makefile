# Tools come through the Go module proxy, at these versions, and stay out of
# go.mod: the program does not depend on them. sqlc without cgo parses with
# PostgreSQL's own parser as WebAssembly, so it needs no C compiler.
SQLC         := CGO_ENABLED=0 go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
LINT         := CGO_ENABLED=0 go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK  := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
COMPOSE_SPEC := go run github.com/compose-spec/compose-go/v2/cmd@v2.16.2

# The packages whose tests talk to Kafka.
KAFKA_TESTS := $(addprefix ./,$(wildcard $(addprefix internal/,kafkatest topics consumer producer e2e)))

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## see it work: Kafka, PostgreSQL, a crash and the proof, in a minute
	bin/promopool demo

.PHONY: build
build: ## build bin/promopool
	CGO_ENABLED=0 go build -o bin/promopool ./cmd/promopool

# Packages mostly wait for processes and timers, so three run at a time, that which
# takes longest first.
.PHONY: test
test: ## run the tests (in-process Kafka, a PostgreSQL of their own)
	go test -p 3 -timeout 10m ./internal/e2e ./...

.PHONY: test-race
test-race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 30m ./...

.PHONY: test-kafka
test-kafka: ## run the tests that talk to Kafka on a real one (needs Java 17 and Maven)
	@for tool in java mvn; do command -v $$tool >/dev/null || { \
	  echo "make test-kafka: no $$tool here. It needs Java 17 or newer and Maven (Debian: apt-get install openjdk-17-jre-headless maven)" >&2; exit 1; }; done
	PROMOPOOL_TEST_KAFKA=real go test -count=1 -p 1 -timeout 20m $(KAFKA_TESTS)

.PHONY: test-live
test-live: ## everything that races in live pools, at full size, with figures (an hour)
	PROMOPOOL_TEST_LIVE=full go test -count=1 -timeout 120m -v -run 'TestUploadLive|TestMoveLive|TestByHandLive|TestRedeemAtOnce|TestRedeemKilled|TestGuessing|TestNotices|TestWatchCost|TestAuditedLive' ./internal/e2e
	go test -count=1 -timeout 30m -v -run 'TestImportKilled' ./internal/importing -killed-rows 1000000 -kills 20

.PHONY: test-planted
test-planted: ## plant bugs and see them caught; BUG=NN: that one
	go test -count=1 -v -timeout 120m -run '^TestPlanted$$' ./internal/planted -bug $(or $(BUG),all)

SEEDS ?= 1

.PHONY: crash-matrix
crash-matrix: ## every write × every fault × three hits × SEEDS, some 40 minutes each (POINT=, FAULT=)
	go test -count=1 -timeout 24h -v -parallel 3 -run '^TestCrashMatrix$$' ./internal/e2e -crash-seeds $(SEEDS) -crash-point '$(POINT)' -crash-fault '$(FAULT)'

.PHONY: crash-sample
crash-sample: ## every write × one fault, drawn by SEED
	go test -count=1 -v -timeout 10m -run '^TestCrashSample$$' ./internal/e2e -crash-seed $(or $(SEED),$(shell date +%s))

# From SEED on, until there were EVENTS and DURATION is over; RUN is the events of
# one seed. A failure says how to have it again: with EVENTS=1 only SEED is run.
SIMULATE = $(if $(SEED),-seed $(SEED)) -events $(or $(EVENTS),20000000) $(if $(DURATION),-duration $(DURATION)) $(if $(RUN),-run-events $(RUN))
.PHONY: simulate
simulate: ## run the simulation at length (SEED, EVENTS, DURATION)
	go test -count=1 -timeout 0 -v -run '^TestSimulation$$' ./internal/simulation $(SIMULATE)

# Of SEED and EXAMPLES, and what it does, schemas/fuzz/run tells.
.PHONY: fuzz-api
fuzz-api: build ## fuzz the HTTP interface against openapi.yaml (needs Python 3.10)
	@schemas/fuzz/run

.PHONY: bench
bench: build ## measure issuing, beside its limits and the baseline
	bin/promopool bench issue

# A module of its own, with several hundred others below it: it takes minutes.
BENTHOS := github.com/benthosdev/benthos/v4@v4.27.0
bin/benthos: internal/bench/testdata/benthos/main.go # the stream processor of bench issue --stream-processor
	@set -e; out=$$(pwd)/$@; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; cp $< "$$tmp"; cd "$$tmp"; \
	go mod init benthos; go mod edit -require $(BENTHOS); go mod tidy; CGO_ENABLED=0 go build -o "$$out" .

.PHONY: bench-verify
bench-verify: ## measure the auditor over a million requests: time, memory
	go test -count=1 -v -timeout 30m -run '^TestVerifyCost$$' ./internal/e2e -audit-requests 1000000

.PHONY: bench-windows
bench-windows: ## measure pools of very many windows: import, issuing, memory
	go test -count=1 -v -timeout 30m -run '^TestWindows' ./internal/issuing -windows 200000
	go test -count=1 -v -timeout 30m -run '^TestManyWindows$$' ./internal/e2e -window-rows 200000 -window-count 200000
	go test -count=1 -v -timeout 30m -run '^TestManyWindows$$' ./internal/e2e -window-rows 5000000 -window-count 10000

.PHONY: lint
lint: ## vet, lint and check the formatting
	$(LINT) run --allow-serial-runners

.PHONY: format
format: ## format the Go code
	$(LINT) fmt

.PHONY: generate
generate: ## write the generated code anew
	$(SQLC) compile -f internal/postgres/sqlc.yaml
	rm -f internal/postgres/internal/db/*.go
	$(SQLC) generate -f internal/postgres/sqlc.yaml

# Both sides are copies of the tree as it is, so uncommitted work elsewhere does
# not matter.
.PHONY: check-generated
check-generated: ## fail when the generated code is not what generate would write
	@set -e -o pipefail; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; mkdir "$$tmp/tree"; \
	git ls-files -z --cached --others --exclude-standard --deduplicate | \
	  while IFS= read -r -d '' f; do if [ -e "$$f" ]; then printf '%s\0' "$$f"; fi; done | \
	  tar -c --null -T - | tar -x -C "$$tmp/tree"; \
	cp -a "$$tmp/tree" "$$tmp/generated"; \
	$(MAKE) --no-print-directory -C "$$tmp/generated" generate; \
	cd "$$tmp"; \
	diff -ruN tree generated || { echo "make check-generated: run make generate and commit what it writes" >&2; exit 1; }

# Scanning needs the database of vulnerabilities; its absence is no finding.
.PHONY: vuln
vuln: ## look for known vulnerabilities in what the code calls
	@out=$$($(GOVULNCHECK) ./... 2>&1); code=$$?; \
	if [ $$code -ne 0 ] && grep -q 'fetching vulnerabilities' <<<"$$out"; then \
	  echo "govulncheck: skipped, its database can't be reached"; \
	else echo "$$out"; exit $$code; fi

.PHONY: compose-check
compose-check: ## check docker-compose.yml against the Compose Specification
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; \
	else $(COMPOSE_SPEC) docker-compose.yml >/dev/null; fi && echo "docker-compose.yml is valid"
