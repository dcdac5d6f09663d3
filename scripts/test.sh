#!/usr/bin/env bash
# The whole test suite: Rust tests, PostgreSQL 15 with the stand-in `vector`, 16 and 18 with the real pgvector, type-checks of 14 and 17.
# Runs every stage, then says which failed. ELACSYM_LONG=1: the long tests too. ELACSYM_STAGES="rust pg15": only these; `lint`
# is one more (as `make lint`), which CI asks for.
. "$(dirname "$0")/lib.sh"
need_state
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cd "$REPO"
say "state directory: $STATE"
"$REPO/scripts/setup.sh" build
find_pg_config
stages=${ELACSYM_STAGES:-rust pg15 pg16 pg18 typecheck}
shared=${ELACSYM_SHARED_DATA:-$(cd .. && pwd)/shared/data}
if [ -d "$shared" ]; then export ELACSYM_SHARED_DATA=$shared; fi
mkdir -p "$STATE/results"

# What only the tests need is fetched while the compiler works: it waits for the network most of the time.
"$REPO/scripts/setup.sh" test >"$LOGS/setup-test.log" 2>&1 </dev/null &
test_setup=$!
wait_for_test_setup() {
  [ -n "$test_setup" ] || return 0
  local rc=0
  wait "$test_setup" || rc=$?
  test_setup=
  cat "$LOGS/setup-test.log"
  [ $rc -eq 0 ] || die "the set-up of the tests failed"
}
passed=0 failed=0 skipped=0 summary=() broken=()

# record NAME FILE EXIT_CODE: adds the counts of a report; a stage that failed without a failed test counts as one.
record() {
  local p f s
  read -r p f s < <(python3 scripts/count.py "$2")
  if [ "$3" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  summary+=("$(printf '%-34s %5d passed %4d failed %4d skipped' "$1" "$p" "$f" "$s")")
  if [ "$f" -gt 0 ]; then
    broken+=("$1")
    python3 scripts/count.py --failures "$2"
  fi
  say "$1: $p passed, $f failed, $s skipped"
}

rust_stage() {
  local rc=0
  export ELACSYM_MOTO="$VENV/bin/moto_server"
  # The library for PostgreSQL 15 has a target directory of its own and fills the gaps of this; pg_tests finds it built.
  case " $stages " in
    *" pg15 "*)
      scripts/private_pg.sh 15 >"$LOGS/library-ahead.log" 2>&1 </dev/null &
      library_ahead=$!
      ;;
  esac
  step "compiling the engine and the Rust tests" env CARGO_TARGET_DIR="$ENGINE_TARGET" cargo test --profile "$PROFILE" --locked --no-run || rc=$?
  wait_for_test_setup
  if [ $rc -eq 0 ]; then
    step "Rust tests" env CARGO_TARGET_DIR="$ENGINE_TARGET" cargo test --profile "$PROFILE" --locked --no-fail-fast || rc=$?
    record "Rust (engine and core)" "$LOGS/Rust-tests.log" $rc
  else
    record "Rust (engine and core)" /dev/null $rc
  fi
}

# Compiles what the later stages need while the tests of PostgreSQL 15 wait for servers most of the time; they find it built, or
# build it themselves and show what is wrong with it.
build_ahead() {
  local stage
  for stage in $stages; do
    case $stage in
      pg16 | pg18) scripts/private_pg.sh "${stage#pg}" || true ;;
      typecheck) scripts/typecheck.sh 14 17 || true ;;
      lint) scripts/lint.sh || true ;;
    esac
  done
}

# The tests of PostgreSQL 15 run two files at a time: they wait for servers much of the time, and no two share a cluster.
two_workers=(-n 2 --dist loadfile --no-loadscope-reorder)

# pg_tests MAJOR [pytest arguments]: builds, installs and tests; leaves the report, and the exit code beside it.
pg_tests() {
  local major=$1 rc=0 report=$STATE/results/pg$1.xml
  shift
  rm -f "$report" "$report.rc"
  if [ "$major" = 15 ] && [ -n "${library_ahead:-}" ]; then wait "$library_ahead" || true; fi
  if ELACSYM_PG_CONFIG=$(scripts/private_pg.sh "$major"); then
    export ELACSYM_PG_CONFIG
    if [ "$major" = 15 ]; then
      (unset ELACSYM_PG_CONFIG && export -f build_ahead && stages=$stages exec nice -n 19 bash -euc build_ahead) >"$LOGS/built-ahead.log" 2>&1 </dev/null &
      built_ahead=$!
    fi
    PYTHONDONTWRITEBYTECODE=1 STEP_TAIL=120 step "SQL and cluster tests on PostgreSQL $major" \
      "$VENV/bin/python" -m pytest pg_test -c pg_test/pytest.ini --junitxml="$report" -v "$@" || rc=$?
    # 5: pytest found no test for this selection
    [ $rc -ne 5 ] || rc=0
  else
    rc=1
  fi
  echo "$rc $("${ELACSYM_PG_CONFIG:-false}" --version 2>/dev/null | cut -d' ' -f1,2 | grep . || echo "PostgreSQL $major")" >"$report.rc"
}

pg_record() { # MAJOR
  local rc name report=$STATE/results/pg$1.xml
  read -r rc name <"$report.rc" || rc=1 name="PostgreSQL $1"
  record "$name" "$report" "$rc"
}

pg_stage() { # MAJOR [pytest arguments]
  pg_tests "$@"
  pg_record "$1"
}

# What runs on every PostgreSQL runs on all other majors at once: its tests wait for servers most of the time.
every_pg_stage() { # MAJOR…
  local major others=()
  if [ -n "${built_ahead:-}" ]; then wait "$built_ahead" || true; fi
  for major in "${@:2}"; do
    pg_tests "$major" -m every_pg >"$LOGS/pg$major-stage.log" 2>&1 </dev/null &
    others+=($!)
  done
  pg_tests "$1" -m every_pg
  pg_record "$1"
  for major in "${@:2}"; do
    wait "${others[0]}" || true
    others=("${others[@]:1}")
    cat "$LOGS/pg$major-stage.log"
    pg_record "$major"
  done
}

lint_stage() {
  local rc=0
  scripts/lint.sh || rc=$?
  printf 'test result: x. %d passed; %d failed; 0 ignored;\n' $((rc == 0)) $((rc != 0)) >"$STATE/results/lint.log"
  record "rustfmt and clippy" "$STATE/results/lint.log" $rc
}

typecheck_stage() {
  local major rc
  for major in 14 17; do
    rc=0
    step "type-check for PostgreSQL $major" scripts/typecheck.sh "$major" || rc=$?
    printf 'test result: x. %d passed; %d failed; 0 ignored;\n' $((rc == 0)) $((rc != 0)) >"$STATE/results/typecheck.log"
    record "PostgreSQL $major (types only)" "$STATE/results/typecheck.log" $rc
  done
}

majors=()
for stage in $stages; do
  case $stage in pg16 | pg18) majors+=("${stage#pg}") ;; esac
done
for stage in $stages; do
  [ "$stage" = rust ] || wait_for_test_setup
  case $stage in
    rust) rust_stage ;;
    pg15) pg_stage 15 "${two_workers[@]}" ;;
    pg16 | pg18) # all at the first of them
      if [ ${#majors[@]} -gt 0 ]; then every_pg_stage "${majors[@]}"; fi
      majors=()
      ;;
    typecheck) typecheck_stage ;;
    lint) lint_stage ;;
    *) die "no stage \"$stage\"" ;;
  esac
done

echo
printf '%s\n' "${summary[@]}"
[ ${#broken[@]} -eq 0 ] || printf 'failed stage: %s\n' "${broken[@]}"
echo "total time $(elapsed)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
