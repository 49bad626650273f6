# `make` alone lists the targets.

GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --verify -q HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# One setting for all, so that vet, the linters, the build and the tests compile every package once, but for the race detector, which
# needs a C compiler. To write what only debuggers read takes a third of a compiler's time.
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath -gcflags=all=-dwarf=false

FUZZTIME ?= 5s
BENCH    ?= .

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Show requests, callbacks, losses and completions in one minute; no account needed
	bin/klingbridge demo

.PHONY: dev
dev: build ## Run the bridge with an embedded NATS server and a simulated Kling
	bin/klingbridge dev

.PHONY: build
build: ## Build bin/klingbridge, one static file
	go build -ldflags '$(LDFLAGS)' -o bin/klingbridge ./cmd/klingbridge

# Most of a test's time is waiting, so that more of them run at a time than there are cores: with four at a time two cores were
# idle for half of it. Linking takes half the time without what only debuggers read.
SIDE_BY_SIDE := -parallel 6 -timeout 30m
LEAN := -vet=off -ldflags=-w

.PHONY: test
test: ## Run all tests
	go test $(SIDE_BY_SIDE) ./...

# "make vet" looks at the tests as well. The packages that take longest begin first. The race detector would have each of them
# sleep for a second when it is done. Those of bridge/chaos start the program
# as a process of its own, most of them with the race detector in it: see "stories".
.PHONY: race
race: ## Run the tests under the race detector
	GORACE=atexit_sleep_ms=10 CGO_ENABLED=1 go test -race $(LEAN) $(SIDE_BY_SIDE) ./bridge ./cmd/klingbridge $$(go list ./... | grep -v /bridge/chaos$$)

.PHONY: stories
stories: ## Kill and besiege the program; "make chaos" does it for longer
	go test $(LEAN) $(SIDE_BY_SIDE) -parallel 4 ./bridge/chaos # each starts several processes

# The race detector changes what they count, or takes fifty times as long.
.PHONY: figures
figures: ## Run the tests that count, without the race detector
	go test $(LEAN) ./bridge/callback ./bridge/dispatch ./bridge/store -run '^(TestReceiverNeedsLittleMemory|TestReplicasShareAccounts|TestCacheNeedsLittleMemory)$$'

# The same tests as in "make race", for minutes: see bridge/chaos.
CHAOS ?= -chaos.requests 2000 -chaos.kills 105 -chaos.burst-kills 20 -chaos.outage 10s -chaos.attack 20s -chaos.archive-kills 20 -chaos.file 200 \
	-chaos.idle 10000 -chaos.slow 5000 -chaos.stops 2 -chaos.still 60s
.PHONY: chaos
chaos: ## Kill the program at every point under load, and NATS too, play many stories, and fuzz; CHAOS=<flags> changes how much
	go test ./bridge/chaos -count=1 -v -timeout 40m $(CHAOS)
	go test ./bridge -count=1 -run '^TestModel$$' -timeout 20m -rapid.checks 240
	go test ./bridge/store -count=1 -run '^TestRacingCompletions$$' -store.raced 400
	go test ./bridge/console -count=1 -run '^TestSearchAmongMany$$' -console.searched 100000
	go test ./bridge -count=1 -run '^TestThreeAccounts$$' -v -accounts.requests 1000 -accounts.task 1s
	go test ./bridge -count=1 -run '^Test(SlotsStayBusy|ListPagesThroughManyTasks|ListFindsFewAmongMany)$$' -slots.requests 500 -list.tasks 5000
	go test ./bridge/dispatch -count=1 -run '^TestLimitsAreLearned$$' -ceiling.seeds 3
	$(MAKE) fuzz FUZZTIME=10s

# The S3 tests run against a server in their own process, except here: this one is real and takes minutes to build.
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
.PHONY: s3-test
s3-test: ## Run the tests of archiving to S3 against versitygw
	GOBIN=$(CURDIR)/bin go install $(VERSITYGW)
	go test ./bridge -count=1 -run '^TestArchiveEveryStore$$' -archive.versitygw $(CURDIR)/bin/versitygw

.PHONY: check
check: tools vet lint build race ## Everything that must hold before a merge
	$(MAKE) --jobs=2 --output-sync=target --no-print-directory stories figures deployments # which wait more than they reckon

# Installs what is missing beside Go, or says what is.
.PHONY: tools
tools:
	@.ci/setup

# A module of its own, because Helm, Kubernetes and Docker Compose as libraries are large.
.PHONY: deployments
deployments: ## Test the chart and the compose files with the libraries of Helm, Kubernetes and Docker Compose
	cd deployments/test && go vet ./... && go test $(LEAN) ./...

# Not part of check: they take minutes, and some need root. See deployments/README.md.
.PHONY: try-cluster
try-cluster: ## Kill bridges and NATS servers of a cluster under load, and count tasks and completions
	deployments/try/cluster

.PHONY: try-systemd
try-systemd: ## Run the unit under a systemd of its own, in a container; as root
	deployments/try/systemd

.PHONY: try-observability
try-observability: ## Have Prometheus load the rules, alerts fire, and every query of the dashboard answered
	deployments/try/observability

.PHONY: try-image
try-image: ## Build the image, run it locked down, kill it and go on from its volume; with Docker
	deployments/try/image

.PHONY: try-compose
try-compose: ## Bring compose.yaml up, kill each of its processes, take it down and up; as root, with Docker
	deployments/try/compose

# Not part of check: GoReleaser takes minutes to compile the first time. 2.16 is the newest that Go 1.26 gets whole.
.PHONY: release-check
release-check: ## Check .goreleaser.yaml
	go run github.com/goreleaser/goreleaser/v2@v2.16.0 check

.PHONY: bench
bench: ## Measure the program beside references, in half an hour, with results in bin/bench.json too
	@mkdir -p bin
	go run ./bridge/internal/bench -json bin/bench.json

.PHONY: bench-quick
bench-quick: ## The same with less of everything, in four minutes
	@mkdir -p bin
	go run ./bridge/internal/bench -quick -json bin/bench-quick.json

.PHONY: bench-code
bench-code: ## Run the benchmarks of single functions; BENCH=<regexp> picks some
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# Not part of check, which runs what was found before and is kept in testdata/fuzz: what chance finds anew must not fail
# somebody else's merge. A fuzz run takes one target of one package.
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (5s)
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: vet
vet:
	go vet ./...

.PHONY: lint
lint: ## Run the linters of .golangci.yml, which hold the format too
	$(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## Format the code
	$(GOLANGCI) fmt ./...

.PHONY: generate
generate: ## Write what is generated: the pages' tables of variables and metrics
	go test ./config -run '^TestTable$$' -update
	go test ./cmd/klingbridge -run '^TestMetricsInUse$$' -update

# The same tests without -update compare. They are in "make race" too.
.PHONY: generated
generated:
	go test ./config -run '^TestTable$$'
	go test ./cmd/klingbridge -run '^TestMetricsInUse$$'

# Not part of check: building promtool for the first time takes minutes. The tests parse the rules in any case.
PROMTOOL := go run github.com/prometheus/prometheus/cmd/promtool@v0.316.0
.PHONY: alerts
alerts: ## Check the alerts, and what they do with made-up series, by Prometheus's own promtool
	$(PROMTOOL) check config deployments/prometheus/prometheus.yaml
	$(PROMTOOL) test rules deployments/prometheus/alerts_test.yaml

.PHONY: cover
cover: ## Test with coverage of all packages, summed up by function
	go test -coverpkg=./... -coverprofile=cover.out ./...
	go tool cover -func=cover.out | tail -1

.PHONY: clean
clean: ## Remove what the other targets made, but not ./data, the store of dev
	rm -rf bin cover.out
