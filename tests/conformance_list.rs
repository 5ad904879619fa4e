//! docs/conformance.md against the code: each statement's place and test exist and cite it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Statements that bind a server, by version, client-only ones left out but where a server refuses the breach.
const V5_STATEMENTS: usize = 229;
const V311_STATEMENTS: usize = 132;

struct Row {
    statement: String,
    place: String,
    test: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let table = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with("| MQTT-")).map(|line| {
        let cells = cells(line);
        assert_eq!(cells.len(), 5, "{line}");
        Row { statement: cells[0].clone(), place: cells[3].clone(), test: cells[4].clone() }
    });
    rows.collect()
}

fn cites(file: &Path, statement: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("[{statement}]")))
}

/// The comment of a test, down to its name, or nothing if there is no such test.
fn comment_of(file: &Path, test: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let at = text.find(&format!("fn {test}("))?;
    let before = &text[..at];
    let start = before.rfind("\n}\n").or_else(|| before.rfind("\n    }\n")).unwrap_or(0);
    let comment = &before[start..];
    comment.contains("#[test]").then(|| comment.to_owned())
}

#[test]
fn statements_are_listed_once() {
    let mut seen = HashMap::new();
    for row in rows() {
        assert!(seen.insert(row.statement.clone(), ()).is_none(), "{} twice", row.statement);
    }
    let (v5, v311): (Vec<_>, Vec<_>) = seen.keys().partition(|statement| !statement.ends_with("@3.1.1"));
    assert_eq!((v5.len(), v311.len()), (V5_STATEMENTS, V311_STATEMENTS));
}

#[test]
fn places_cite_their_statements() {
    let rows = rows();
    let listed: Vec<&str> = rows.iter().map(|row| row.statement.as_str()).collect();
    for row in rows.iter().filter(|row| row.place != "-") {
        if let Some(same) = row.place.strip_prefix("as ") {
            assert!(listed.contains(&same), "{} is said to be as {same}, which is not listed", row.statement);
            continue;
        }
        for place in row.place.split("<br>") {
            assert!(cites(&root().join(place), &row.statement), "{place} does not cite {}", row.statement);
        }
    }
}

#[test]
fn tests_cite_their_statements() {
    for row in rows().iter().filter(|row| row.test != "-") {
        for test in row.test.split("<br>") {
            let (file, name) = test.split_once(' ').unwrap();
            let file = root().join(file);
            assert!(comment_of(&file, name).is_some(), "no test {test} for {}", row.statement);
            assert!(cites(&file, &row.statement), "{test} does not cite {}", row.statement);
        }
    }
}

#[test]
fn no_row_is_blank() {
    let blank: Vec<String> = rows()
        .into_iter()
        .filter(|row| row.place == "-" || row.test == "-")
        .map(|row| row.statement)
        .collect();
    assert!(blank.is_empty(), "{} rows: {}", blank.len(), blank.join(" "));
}
