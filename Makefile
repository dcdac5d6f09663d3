# make demo      the PostgreSQL manual in elacsym, three ways to search it; leaves a throw-away server running
# make demo-stop ends that server and removes its data
# make test      everything that is tested, on PostgreSQL 15, 16 and 18
# make bench     elacsym and its peers (pgvector, PostgreSQL's full-text search, …) side by side, into docs/performance.md; `make bench-full`: large sets
# make install   into the PostgreSQL of PG_CONFIG (default: Debian's 15); `make build` first, then `sudo make install`, as a normal user
# make uninstall removes that again
# Both demo and test install what they need (Debian packages) and use private copies of PostgreSQL: no cluster of yours is touched.

SHELL := /bin/bash
PG_CONFIG ?=
export PG_CONFIG

.PHONY: help setup build install uninstall installcheck demo demo-stop test test-long bench bench-full bench-rust lint clean

help:
	@grep -E '^#' Makefile | cut -c3-

setup:
	@scripts/setup.sh build

build: setup
	@scripts/build.sh library engine

install: build
	@scripts/install.sh

uninstall:
	@scripts/uninstall.sh

# SQL regress suites against a server that has elacsym installed and preloaded: PGHOST, PGPORT, PGUSER say which
installcheck:
	@python3 pg_test/regress/runner.py

demo:
	@demo/run.sh

demo-stop:
	@demo/stop.sh

test:
	@scripts/test.sh

test-long:
	@ELACSYM_LONG=1 scripts/test.sh

# Options: BENCH_ROWS, BENCH_DIM, BENCH_DATA, BENCH_K, BENCH_CONTENDERS, BENCH_SECONDS, …: `scripts/bench.sh --help`
bench:
	@scripts/bench.sh

# Hours on two cores; the largest set takes some 25 GB of disk
bench-full:
	@BENCH_DATA="$${BENCH_DATA:-generated:500000x384 generated:1000000x384 generated:200000x768 arxiv}" BENCH_TEXTS="$${BENCH_TEXTS:-160000}" \
	  BENCH_SECONDS="$${BENCH_SECONDS:-10}" scripts/bench.sh

# Criterion: each kernel, building and searching one segment
bench-rust: setup
	@cargo bench

lint: setup
	@scripts/lint.sh

# Build products and the state directory (clusters, copies of PostgreSQL, logs); a running demo ends first
clean:
	@scripts/clean.sh
