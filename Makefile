# hashpivot. `make demo` runs everything on this machine; `make test` tests it. Each fetches and builds what it needs; needed beforehand are
# Go, npm (to fetch the engine's package) and a POSIX shell.

ENGINE_VERSION := 26.7.3-stable.1
ENGINE         := .cache/libchdb/$(ENGINE_VERSION)/libchdb.so
TOOLS          := .cache/tools
BIN            := bin/hashpivot
VERSION        ?= $(shell git describe --tags --always --dirty 2>/dev/null)
WEB            := services/gateway/web
LDFLAGS        := -X main.released=$(VERSION)
TESTFLAGS      ?=
BASE           ?= main

.PHONY: demo up build engine libchdb test e2e-secure day check deploy-check image-check snapshot audit-deps bench compat chaos rolling overload upgrade chaos-power fuzz proto web web-check browser chromium python python-test research research-python research-test observe dashboards clean

demo: build ## everything with simulated upstreams, in a directory of its own
	$(BIN) up --sim --demo

up: build ## everything with the live upstreams that need no key (and Alpaca with one)
	$(BIN) up

build: engine
	go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./services/hashpivot

engine libchdb: $(ENGINE)

$(ENGINE):
	sh pkg/chembed/fetch-libchdb.sh .cache/libchdb

test: build browser web-check python-test research-test ## everything: all modules, race detector, real nats-server and engine, the built binary, the page in Chromium, all clients
	go test -race -parallel 8 -timeout 8m -skip '^(TestSecure|TestDay|TestDashboards)$$' $(TESTFLAGS) work # the first two have commands of their own
	cd e2e && go test -race -run '^TestDashboards$$' -timeout 12m $(TESTFLAGS) . # alone: it holds times that a reader of the page feels
	cd deploy/check && GOWORK=off go test -timeout 5m $(TESTFLAGS) ./...

e2e-secure: build ## every service a process with a user of its own, over TLS, on three nats-servers; every user tries everything that it must not do
	cd e2e && go test -count=1 -v -run '^TestSecure$$' -timeout 8m .

day: build ## a day of the market and the next one's opening, by a clock 480 times as fast, in some five minutes: sessions, retention, the notebooks, and that nothing grows (docs/operators.md)
	cd services/hashpivot && go test -count=1 -v -run '^TestDay$$' -timeout 12m .

check: build $(TOOLS)/buf $(TOOLS)/golangci-lint ## what to run before each commit: format, vet, lint, contract, quick tests
	@test -z "$$(gofmt -l *.go pkg services schemas/reference schemas/clickhouse deploy e2e bench | tee /dev/stderr)" || { echo 'run gofmt -w on the files above'; exit 1; }
	go vet work
	$(TOOLS)/buf lint schemas/proto
	@if git rev-parse -q --verify $(BASE):schemas/proto >/dev/null; then $(TOOLS)/buf breaking schemas/proto --against '.git#ref=$(BASE),subdir=schemas/proto'; fi
	$(TOOLS)/golangci-lint run ./...
	cd e2e && ../$(TOOLS)/golangci-lint run ./...
	go test -short $(TESTFLAGS) work

# Outside the workspace, because the tools that read a deployment move versions of what is shipped.
deploy-check: build ## docker-compose.yml, the Helm chart and NATS's configuration, by the tools that read them; NATS_CHART=directory of NATS's own chart, for that too
	cd deploy/check && GOWORK=off go vet ./... && NATS_CHART=$(NATS_CHART) GOWORK=off go test -timeout 5m $(TESTFLAGS) ./...

image-check: ## the Dockerfile's steps in a clean root, twice, without a container engine (root, Debian, debootstrap); DIR=directory
	sh deploy/clean-root.sh $(or $(DIR),.cache/clean-root)

snapshot: $(TOOLS)/goreleaser $(TOOLS)/sbom ## what a release consists of, into .cache/dist, nothing published: archives, the Debian package, formula, SBOMs, checksums
	SBOM=$(CURDIR)/$(TOOLS)/sbom ROOT=$(CURDIR) $(TOOLS)/goreleaser check
	SBOM=$(CURDIR)/$(TOOLS)/sbom ROOT=$(CURDIR) $(TOOLS)/goreleaser release --snapshot --clean --skip=publish
	sh deploy/package/check.sh .cache/dist

GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
PIP_AUDIT   := pip-audit==2.10.1

audit-deps: $(WEB)/node_modules/.package-lock.json e2e/browser/node_modules/.package-lock.json ## known weaknesses of what we depend on; asks their public databases, so it needs the internet
	go run $(GOVULNCHECK) ./...
	cd $(WEB) && npm audit
	cd e2e/browser && npm audit
	python3 -m venv --clear .cache/pip-audit && .cache/pip-audit/bin/pip install -q --disable-pip-version-check $(PIP_AUDIT)
	for f in $(PYTHON_CLIENT)/requirements.txt $(RESEARCH)/requirements.txt; do .cache/pip-audit/bin/pip-audit --require-hashes --disable-pip -r $$f || exit 1; done

bench: build bin/bench-peers ## figures as JSON lines; NAME=landing for one, NAME=soak MINUTES=30 for that, NAME=queries ROWS=1000000000, NAME=clickhouse_soak MINUTES=30
	go run ./bench $(if $(NAME),-name $(NAME)) $(if $(MINUTES),-minutes $(MINUTES)) $(if $(ROWS),-rows $(ROWS)) $(if $(DATABASE),-database $(DATABASE)) $(if $(RATE),-rate $(RATE)) $(if $(SEED),-seed $(SEED))

# What the gateway is measured against: a module of its own outside the workspace, so that it moves no version of what is shipped.
bin/bench-peers: $(wildcard bench/peers/*) $(wildcard bench/child/*.go)
	cd bench/peers && GOWORK=off go vet ./... && GOWORK=off go build -trimpath -o ../../$@ .

chaos: build ## break the pipeline by a seeded schedule: SEED=n MINUTES=m LANDERS=n REPORT=file; the last line is JSON (docs/chaos.md)
	go run ./e2e/chaos/cmd $(if $(SEED),-seed $(SEED)) $(if $(MINUTES),-minutes $(MINUTES)) $(if $(LANDERS),-landers $(LANDERS)) $(if $(REPORT),-report $(REPORT))

rolling: build ## restart every service under load, one process at a time: RATE=n ROUNDS=n; the last line is JSON (docs/operators.md)
	go run ./e2e/chaos/rolling $(if $(RATE),-rate $(RATE)) $(if $(ROUNDS),-rounds $(ROUNDS))

overload: build ## three times what the pipeline lands, and what becomes of it: MINUTES=m, LAND=rows a second at most (0: what the machine can); the last line is JSON (docs/operators.md)
	go run ./e2e/chaos/overload $(if $(MINUTES),-minutes $(MINUTES)) $(if $(LAND),-land $(LAND))

upgrade: build ## an earlier version's data directory, opened by this one, and the way back: FROM=tag or commit; the last line is JSON (docs/release.md)
	go run ./e2e/chaos/upgrade $(addprefix -from ,$(or $(FROM),$(shell git describe --tags --abbrev=0 2>/dev/null)))

chaos-power: build ## cut the power at the file system (root): SYNC=always|2m WHAT=all|nats|engine CUTS=n
	go run ./e2e/chaos/cmd -power-cut $(or $(WHAT),all) -sync $(or $(SYNC),always) -cuts $(or $(CUTS),3) -warm 40s -rate 200 -landers 1 -shards 0

compat: engine ## the embedded ClickHouse with every client that can be had (pip, npm, mvn, Debian), as a table; ROWS=10000000 is what is published
	go run ./bench/compat -cache .cache/compat $(if $(ROWS),-rows $(ROWS))

FUZZTIME ?= 20s
fuzz: engine ## every fuzz target for FUZZTIME
	@set -e; for f in $$(grep -rl --include='*_test.go' '^func Fuzz' pkg services | sort); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
	    echo "fuzz $$t in $$(dirname $$f)"; go test ./$$(dirname $$f) -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME); done; done

proto: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-vtproto ## generate Go from schemas/proto
	cd schemas/proto && PATH="$(CURDIR)/$(TOOLS):$$PATH" buf generate

web: $(WEB)/node_modules/.package-lock.json ## build the page into services/gateway/web/dist, which is committed
	cd $(WEB) && npm run --silent build

web-check: $(WEB)/node_modules/.package-lock.json ## types and tests of the page and its client; that dist is what its source builds
	cd $(WEB) && npm run --silent lint && npm test --silent && npx vite build --outDir ../../../.cache/web-dist --emptyOutDir --logLevel warn
	diff -r .cache/web-dist $(WEB)/dist || { echo 'the page was changed and not built: run make web and commit $(WEB)/dist'; exit 1; }

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --silent && npm run --silent --workspace client build

browser: chromium e2e/browser/node_modules/.package-lock.json $(WEB)/node_modules/.package-lock.json ## what the tests of the page need

e2e/browser/node_modules/.package-lock.json: e2e/browser/package-lock.json
	cd e2e/browser && npm ci --silent

chromium: ## Debian's Chromium where there is none and root may install it; CHROMIUM names another
	@test -x "$${CHROMIUM:-/usr/bin/chromium}" || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	  echo 'no Chromium and no right to install it: the tests of the page are skipped'

$(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-vtproto &: tools/proto/go.mod
	@echo 'building the protobuf tools (once, some minutes)'
	GOWORK=off go build -modfile=tools/proto/go.mod -o $(TOOLS)/ github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto

$(TOOLS)/goreleaser: tools/release/go.mod
	@echo 'building goreleaser (once, many minutes)'
	cd tools/release && GOWORK=off go build -o ../../$@ github.com/goreleaser/goreleaser/v2

$(TOOLS)/sbom: tools/sbom/go.mod tools/sbom/main.go
	cd tools/sbom && GOWORK=off go build -o ../../$@ .

observe: $(TOOLS)/promtool ## alert rules, runbook and dashboards: Prometheus's own parser, the rules' scenarios by promtool, Grafana's own types
	cd tools/observe && test -z "$$(gofmt -l . | tee /dev/stderr)" && GOWORK=off go vet ./... && GOWORK=off go test ./...

dashboards: ## write deploy/grafana/dashboards from tools/observe/dashboards
	cd tools/observe && GOWORK=off go run ./dashboards

$(TOOLS)/promtool: tools/observe/go.mod
	@echo 'building promtool (once, some minutes)'
	cd tools/observe && GOWORK=off go build -trimpath -tags remove_all_sd,enable_dns_sd -o ../../$@ github.com/prometheus/prometheus/cmd/promtool

$(TOOLS)/golangci-lint: tools/lint/go.mod
	@echo 'building golangci-lint (once, some minutes)'
	GOWORK=off go build -modfile=tools/lint/go.mod -o $(TOOLS)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

PYTHON_CLIENT := research/hashpivot_live
VENV          := .cache/venv

python: $(VENV)/installed ## the Python client's environment

$(VENV)/installed: $(PYTHON_CLIENT)/requirements.txt
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r $(PYTHON_CLIENT)/requirements.txt
	touch $@

python-test: python ## the Python client: its tests and its types
	cd $(PYTHON_CLIENT) && PYTHONDONTWRITEBYTECODE=1 ../../$(VENV)/bin/python -m pytest -q && ../../$(VENV)/bin/mypy

RESEARCH       := research/hashpivot
RESEARCH_VENV  := .cache/research-venv
RESEARCH_DATES ?= 2026-03-02 2024-06-06
RECORDINGS     ?= ../shared/data

research: build research-python ## all notebooks on the recordings for RESEARCH_DATES, into data/research/DATE
	$(RESEARCH_VENV)/bin/python -m hashpivot.recorded $(RESEARCH_DATES) --recordings $(RECORDINGS) --data-dir data/recorded --output data/research

research-python: $(RESEARCH_VENV)/installed ## the notebooks' environment

$(RESEARCH_VENV)/installed: $(RESEARCH)/requirements.txt $(RESEARCH)/pyproject.toml
	python3 -m venv --clear $(RESEARCH_VENV)
	$(RESEARCH_VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r $(RESEARCH)/requirements.txt
	$(RESEARCH_VENV)/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable $(RESEARCH)
	touch $@

research-test: build research-python ## the notebooks and their package: tests, types, format
	cd $(RESEARCH) && PYTHONDONTWRITEBYTECODE=1 ../../$(RESEARCH_VENV)/bin/python -m pytest -q && ../../$(RESEARCH_VENV)/bin/mypy
	cd $(RESEARCH) && ../../$(RESEARCH_VENV)/bin/ruff check -q . ../notebooks && ../../$(RESEARCH_VENV)/bin/ruff format -q --check . ../notebooks

clean: ## built things and the demo's data; not the fetched engine
	rm -rf bin data .cache/tools
