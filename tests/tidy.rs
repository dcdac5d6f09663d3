//! The rules of the tree that neither the compiler nor clippy checks: who may name whom, where unsafe and time may appear, file
//! sizes, and that every invariant of `docs/architecture.md` is named by a test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Longest file outside tests. Past this it has more than one responsibility.
const MAX_LINES: usize = 800;
/// How far above an `unsafe {` its SAFETY comment may end: a statement that starts some lines before its block.
const SAFETY_REACH: usize = 6;

/// Module → the modules it may name with `crate::…`. Itself, `error`, `limits` and `ids` are always allowed; `ipc::message` counts as
/// `message`, because messages are words of the core, while the rest of `ipc` is the transport.
const MAY_USE: &[(&str, &[&str])] = &[
    // core
    ("error", &[]),
    ("limits", &[]),
    ("ids", &[]),
    ("vector", &["env"]),
    ("schema", &["vector"]),
    ("timestamp", &[]),
    ("document", &["schema", "timestamp", "vector"]),
    ("filter", &["schema", "document", "timestamp"]),
    ("aggregate", &["schema", "document", "filter", "timestamp"]),
    ("segment_info", &["schema"]),
    ("rank", &["schema", "document", "filter", "vector"]),
    ("back_pressure", &[]),
    ("batch", &[]),
    ("compaction", &[]),
    ("decoded", &[]),
    ("garbage", &[]),
    ("metrics", &[]),
    ("ipc", &["message", "aggregate", "schema", "document", "filter", "rank", "segment_info", "vector"]),
    // engine, from the bottom
    ("env", &[]),
    ("config", &[]),
    ("scratch", &[]),
    ("storage", &["env", "config"]),
    ("cache", &["env", "config", "storage"]),
    ("text", &["env", "config", "scratch", "schema", "document", "filter", "message"]),
    (
        "segment",
        &[
            "env",
            "config",
            "scratch",
            "schema",
            "document",
            "filter",
            "segment_info",
            "message",
            "vector",
            "text",
            "storage",
            "cache",
        ],
    ),
    ("manifest", &["env", "config", "schema", "segment_info", "message"]),
    (
        "engine",
        &[
            "env",
            "compaction",
            "config",
            "scratch",
            "schema",
            "document",
            "filter",
            "aggregate",
            "segment_info",
            "message",
            "ipc",
            "vector",
            "text",
            "storage",
            "cache",
            "rank",
            "segment",
            "manifest",
            "garbage",
            "metrics",
        ],
    ),
    // glue: backends reach the engine through ipc only
    (
        "pg",
        &[
            "back_pressure",
            "batch",
            "compaction",
            "config",
            "decoded",
            "schema",
            "document",
            "filter",
            "aggregate",
            "timestamp",
            "segment_info",
            "message",
            "ipc",
            "vector",
            "rank",
            "garbage",
            "metrics",
        ],
    ),
];

struct Source {
    /// Path below the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The module a file belongs to: the first part of its path below `src`, or None for lib.rs and the executables.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        match below.split_once('/') {
            Some(("bin", _)) => None,
            Some((module, _)) => Some(module),
            None => below.strip_suffix(".rs").filter(|m| *m != "lib"),
        }
    }

    /// Lines with their number, comments cut off.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, without_comment(line)))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &str, extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("a readable directory entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                let text = std::fs::read_to_string(&path).expect("a readable source file");
                let path = path.strip_prefix(root()).expect("a path below the repository");
                found.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(directory != "src" || !found.is_empty(), "no source found");
    found
}

fn sources() -> Vec<Source> {
    files("src", &["rs"])
}

/// Cuts a line comment off; `//` inside a string literal does not start one.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let bytes = line.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'/' if !quoted && bytes.get(i + 1) == Some(&b'/') => return &line[..i],
            _ => {}
        }
        i += 1;
    }
    line
}

fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Whether `word` occurs in `text` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).map(|i| text.as_bytes()[i]);
        let after = text.as_bytes().get(at + word.len()).copied();
        !before.is_some_and(is_word_byte) && !after.is_some_and(is_word_byte)
    })
}

/// The modules a line names as `crate::module` or `crate::{a, b::…}`.
fn crate_uses(line: &str) -> Vec<&str> {
    let mut used = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if at > 0 && (is_word_byte(line.as_bytes()[at - 1]) || line.as_bytes()[at - 1] == b'$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split([',', '}']).map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let name = if name.starts_with("ipc::message") { "message" } else { name };
            let end = name.bytes().position(|b| !is_word_byte(b)).unwrap_or(name.len());
            if name[..end].starts_with(|c: char| c.is_ascii_lowercase()) {
                used.push(&name[..end]);
            }
        }
    }
    used
}

#[track_caller]
fn expect_none(rule: &str, found: &[String]) {
    let mut message = format!("{rule}:\n");
    for line in found {
        let _ = writeln!(message, "  {line}");
    }
    assert!(found.is_empty(), "{message}");
}

#[test]
fn postgres_is_named_only_by_the_glue() {
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| !f.path.starts_with("src/pg/") && f.path != "src/lib.rs") {
        for (number, line) in file.text.lines().enumerate() {
            if ["pgrx", "pg_sys", "palloc"].iter().any(|w| has_word(line, w)) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    expect_none("pgrx and pg_sys belong in src/pg/, so that the engine builds without PostgreSQL", &found);
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| !f.is_test()) {
        let Some(module) = file.module() else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(m, _)| *m == module) else {
            found.push(format!("{}: module {module} is not in MAY_USE of tests/tidy.rs", file.path));
            continue;
        };
        for (number, line) in file.code() {
            for used in crate_uses(line) {
                let base = ["error", "limits", "ids", module].contains(&used) || (module == "ipc" && used == "message");
                if !base && !allowed.contains(&used) {
                    found.push(format!("{}:{number}: {module} may not use {used}", file.path));
                }
            }
        }
    }
    expect_none("the direction of dependencies (MAY_USE in tests/tidy.rs)", &found);
}

#[test]
fn unsafe_stays_in_its_two_places_and_says_why() {
    let mut found = Vec::new();
    for file in &sources() {
        let may = file.path.starts_with("src/pg/") || file.path.starts_with("src/vector/simd");
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, code) in file.code() {
            if !may && has_word(code, "unsafe") {
                found.push(format!("{}:{number}: unsafe outside src/pg/ and src/vector/simd", file.path));
            }
            if code.contains("unsafe {")
                && !code.trim_start().starts_with("unsafe extern")
                && !says_why(&lines, number - 1)
            {
                found.push(format!("{}:{number}: no SAFETY comment above", file.path));
            }
        }
    }
    expect_none("unsafe", &found);
}

/// Whether the comment nearest above line `at` (or on it) holds `SAFETY:`.
fn says_why(lines: &[&str], at: usize) -> bool {
    if lines[at].contains("SAFETY:") {
        return true;
    }
    let mut code = 0;
    let mut in_comment = false;
    for line in lines[..at].iter().rev() {
        let line = line.trim_start();
        if line.starts_with("//") {
            in_comment = true;
            if line.contains("SAFETY:") {
                return true;
            }
        } else if in_comment || code == SAFETY_REACH {
            return false;
        } else {
            code += 1;
        }
    }
    false
}

#[test]
fn nothing_unfinished_or_panicking_is_left() {
    // in two pieces, so that a search for them does not find this file
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        ".unwrap()",
        ".unwrap_err()",
    ];
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| !f.is_test()) {
        for (number, line) in file.text.lines().enumerate() {
            let doc = line.trim_start().starts_with("//");
            if words.iter().any(|w| line.contains(w) && !(doc && w.starts_with('.'))) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
            if let Some((_, message)) = without_comment(line).split_once(".expect(\"")
                && !message.starts_with("invariant: ")
            {
                found.push(format!("{}:{}: expect without \"invariant: …\"", file.path, number + 1));
            }
        }
    }
    expect_none("unfinished or panicking", &found);
}

#[test]
fn files_are_of_readable_size_and_named_for_what_they_hold() {
    let mut found = Vec::new();
    for file in sources().iter().chain(&files("benches", &["rs"])) {
        let lines = file.text.lines().count();
        if lines > MAX_LINES && !file.is_test() {
            found.push(format!("{}: {lines} lines, at most {MAX_LINES}: split it by responsibility", file.path));
        }
        for part in file.path.trim_end_matches(".rs").split('/') {
            if ["utils", "util", "common", "helpers", "helper", "misc"].contains(&part) {
                found.push(format!("{}: \"{part}\" says nothing about what is in it", file.path));
            }
        }
        for (number, line) in file.code() {
            if line.trim_start().starts_with("mod tests {") && file.path.starts_with("src/") {
                found.push(format!("{}:{number}: unit tests go into a file of their own, tests.rs", file.path));
            }
        }
    }
    expect_none("files", &found);
}

#[test]
fn time_and_chance_come_only_from_env() {
    let calls = [
        "SystemTime::now",
        "Instant::now",
        "Ulid::new",
        "Ulid::generate",
        "Uuid::new",
        "thread_rng",
        "rand::random",
        "rand::rng",
    ];
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| f.path != "src/env.rs" && !f.is_test()) {
        for (number, line) in file.code() {
            // a backend has no Env, and waits for the engine with a deadline
            let deadline = file.path.starts_with("src/pg/") && line.contains("Instant::now");
            if !deadline && calls.iter().any(|c| line.contains(c)) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("time and randomness are taken from src/env.rs, so that a test can fix them", &found);
}

#[test]
fn postgres_processes_start_no_thread() {
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| f.path.starts_with("src/pg/")) {
        for (number, line) in file.code() {
            if ["thread::spawn", "thread::Builder", "thread::scope", "tokio::", "rayon::"]
                .iter()
                .any(|w| line.contains(w))
            {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("a PostgreSQL process is single-threaded", &found);
}

#[test]
fn every_invariant_is_named_by_a_test() {
    let tests: Vec<Source> = files("tests", &["rs"])
        .into_iter()
        .filter(|f| f.path != "tests/tidy.rs")
        .chain(sources().into_iter().filter(Source::is_test))
        .chain(files("pg_test", &["py", "sql"]))
        .collect();
    let missing: Vec<String> =
        (1..=9).map(|n| format!("INV-{n}")).filter(|name| !tests.iter().any(|f| has_word(&f.text, name))).collect();
    expect_none("invariants of docs/architecture.md that no test names", &missing);
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(crate_uses("use crate::{error::Error, ipc::message::X, storage};"), ["error", "message", "storage"]);
    assert_eq!(crate_uses("    crate::ids::Key::from(crate::limits::MAX)"), ["ids", "limits"]);
    assert!(has_word("a pg_sys::x", "pg_sys") && !has_word("my_pg_sys", "pg_sys"));
    assert_eq!(without_comment(r#"let a = "http://x"; // b"#), r#"let a = "http://x"; "#);
    assert!(says_why(&["// SAFETY: held", "let a =", "    unsafe { b() };"], 2));
    assert!(!says_why(&["// SAFETY: of another block", "a();", "// why", "unsafe { b() };"], 3));
}
