//! `backend/INVARIANTS.md` against the tree: comments cite entries that exist, and entries name files, tests and
//! chaos cases that exist.
//!
//! Each check is a function of text and directory, so that the last test can show that it fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a citation looks like; a name follows.
const CITATION: &str = "invariant: ";
/// Where an entry says what enforces it.
const ENFORCED: &str = "- Enforced by: ";
/// Where an entry says what proves it.
const PROVED: &str = "- Proved by: ";
/// Functions of the contract are made tests by a macro, for each adapter.
const CONTRACT: &str = "backend/contract/src/";
const CHAOS_CASES: &str = "backend/server/examples/chaos/case";
/// Directories that hold no text of ours.
const SKIPPED: [&str; 4] = ["target", "snapshots", "data", "seeds"];
/// Files that may cite; those without an extension are scripts.
const EXTENSIONS: [&str; 9] = [
    "rs", "md", "sh", "lua", "sql", "toml", "html", "yaml", "css",
];

/// An invariant as the document has it.
#[derive(Debug, Default)]
struct Entry {
    name: String,
    enforced: Vec<String>,
    proved: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("backend/INVARIANTS.md")).unwrap()
}

fn entries(document: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in document.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            entries.push(Entry {
                name: name.to_owned(),
                ..Entry::default()
            });
        } else if let Some(entry) = entries.last_mut() {
            if let Some(files) = line.strip_prefix(ENFORCED) {
                entry.enforced = quoted(files);
            } else if let Some(proofs) = line.strip_prefix(PROVED) {
                entry.proved = quoted(proofs);
            }
        }
    }
    entries
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// What is wrong with entries.
fn wrong_entries(root: &Path, entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = &entry.name;
        if name.chars().any(|c| !is_of_a_name(c)) || !names.insert(name) {
            wrong.push(format!("{name}: not a name in kebab case, or there twice"));
        }
        if entry.enforced.is_empty() {
            wrong.push(format!("{name}: no file enforces it"));
        }
        if entry.proved.is_empty() {
            wrong.push(format!("{name}: no test proves it"));
        }
        for file in &entry.enforced {
            if !root.join(file).is_file() {
                wrong.push(format!("{name}: there is no file {file}"));
            }
        }
        for proof in &entry.proved {
            if !is_proof(root, proof) {
                wrong.push(format!("{name}: there is no test or case {proof}"));
            }
        }
    }
    wrong
}

/// Whether a proof exists: a test function, a chaos case, or the simulation.
fn is_proof(root: &Path, proof: &str) -> bool {
    if proof == "scripts/simulate" {
        return root.join(proof).is_file();
    }
    if let Some(case) = proof.strip_prefix("scripts/chaos ") {
        let case = case.split(' ').next().unwrap_or_default();
        return case != "mod" && root.join(CHAOS_CASES).join(format!("{case}.rs")).is_file();
    }
    let Some((file, function)) = proof.split_once("::") else {
        return false;
    };
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let is_told = file.starts_with(CONTRACT);
    has_test(&text, function, is_told)
}

/// Whether a file has a function of this name that is a test.
fn has_test(text: &str, function: &str, is_told: bool) -> bool {
    let start = format!("fn {function}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let found = lines.iter().position(|line| line.contains(&start));
    found.is_some_and(|at| {
        let above = lines[..at].iter().rev();
        let mut attributes = above.take_while(|line| line.starts_with(['#', '/']));
        is_told || attributes.any(|line| line.starts_with("#[test]") || line.contains("::test"))
    })
}

/// What is wrong with the citations of a file.
fn wrong_citations(file: &str, text: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, nth) in text.lines().zip(1..) {
        for cited in line.split(CITATION).skip(1) {
            let end = cited.find(|c| !is_of_a_name(c)).unwrap_or(cited.len());
            let name = &cited[..end];
            if !names.contains(name) {
                wrong.push(format!("{file}:{nth}: there is no invariant {name:?}"));
            }
        }
        if line.ends_with(CITATION.trim_end()) {
            wrong.push(format!("{file}:{nth}: the name is on the next line"));
        }
        if let Some(number) = cited_number(line) {
            wrong.push(format!("{file}:{nth}: cites {number:?}, a number"));
        }
    }
    wrong
}

/// A rule or a promise that is cited by its number.
fn cited_number(line: &str) -> Option<&str> {
    let lower = line.to_ascii_lowercase();
    for word in ["rule", "promise"] {
        for (at, _) in lower.match_indices(word) {
            let is_word = !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
            let rest = &lower[at + word.len()..];
            let rest = rest.strip_prefix('s').unwrap_or(rest);
            let number = rest.strip_prefix(' ').unwrap_or_default();
            if is_word && number.starts_with(|c: char| c.is_ascii_digit()) {
                return line.get(at..);
            }
        }
    }
    None
}

const fn is_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c == '-'
}

/// Every text file of the repository.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().map(|text| text.to_string_lossy());
        let is_ours = extension.is_none_or(|text| EXTENSIONS.contains(&text.as_ref()));
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                files(&path, found);
            }
        } else if (is_ours || name == ".env.example") && !name.starts_with("LICENSE") {
            found.push(path);
        }
    }
}

#[test]
fn every_entry_names_files_and_tests_that_exist() {
    let document = document();
    let entries = entries(&document);
    assert!(entries.len() > 40, "{} entries were read", entries.len());
    let wrong = wrong_entries(&root(), &entries);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn comments_cite_invariants_that_exist_and_no_numbers() {
    let document = document();
    let entries = entries(&document);
    let mut names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    // This is how a citation is explained in the documents.
    names.insert("");
    let mut all = Vec::new();
    files(&root(), &mut all);
    assert!(all.len() > 400, "{} files were read", all.len());
    let mut wrong = Vec::new();
    for path in all {
        if path.ends_with("backend/core/tests/it/invariants.rs") {
            continue;
        }
        // What is no text cites nothing.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        wrong.extend(wrong_citations(&file, &text, &names));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_found() {
    let document = "### a-name\n\n- Enforced by: `no/file.rs`\n\
                    ### untested\n\n- Enforced by: `Cargo.toml`\n\
                    ### lost\n\n- Enforced by: `Cargo.toml`\n\
                    - Proved by: `backend/core/src/search.rs::no_such_test`, \
                    `backend/core/src/search.rs::check`, `scripts/chaos no-such-case`, `scripts/chaos mod`\n";
    let wrong = wrong_entries(&root(), &entries(document));
    assert_eq!(
        wrong,
        [
            "a-name: no test proves it",
            "a-name: there is no file no/file.rs",
            "untested: no test proves it",
            "lost: there is no test or case backend/core/src/search.rs::no_such_test",
            "lost: there is no test or case backend/core/src/search.rs::check",
            "lost: there is no test or case scripts/chaos no-such-case",
            "lost: there is no test or case scripts/chaos mod",
        ]
    );
    let names = BTreeSet::from(["a-name"]);
    let text = "// fine (invariant: a-name).\n// (invariant: another)\n// (invariant:\n\
                // Rule 5 says so.\n// promises 1 and 2\n// a ruler 5 long\n";
    let wrong = wrong_citations("f", text, &names);
    assert_eq!(
        wrong,
        [
            "f:2: there is no invariant \"another\"",
            "f:3: the name is on the next line",
            "f:4: cites \"Rule 5 says so.\", a number",
            "f:5: cites \"promises 1 and 2\", a number",
        ]
    );
}
