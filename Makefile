# make demo      the PostgreSQL manual in elacsym, three ways to search it; leaves a throw-away server running
# make demo-stop ends that server and removes its data
# make test      everything that is tested, on PostgreSQL 15, 16 and 18
# make install   into the PostgreSQL of PG_CONFIG (default: Debian's 15); `make build` first, then `sudo make install`, as a normal user
# make uninstall removes that again
# Both demo and test install what they need (Debian packages) and use private copies of PostgreSQL: no cluster of yours is touched.

SHELL := /bin/bash
PG_CONFIG ?=
export PG_CONFIG

.PHONY: help setup build install uninstall installcheck demo demo-stop test test-long bench lint clean

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

bench: setup
	@cargo bench

lint: setup
	@scripts/lint.sh

# Build products and the state directory (clusters, copies of PostgreSQL, logs); a running demo ends first
clean:
	@scripts/clean.sh
