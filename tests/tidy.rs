//! The rules of this repository that no compiler or lint looks at: which crate may build on which, how long a file may
//! be, and which module names say nothing.
//!
//! A crate's table of dependencies is read from its Cargo.toml. Development dependencies count as well: a test that reaches
//! around a layer ties the two together just the same. Only dependencies within this repository are judged, but for the
//! two crates that must stay free of IO, whose every dependency is listed. A crate that is not listed here fails, so that
//! adding one means deciding where it belongs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Lines of a file, the unit tests at its end not counted.
const FILE_LINES_MAX: usize = 800;

/// Module names that would fit any module.
const EMPTY_NAMES: [&str; 5] = ["utils", "common", "types", "helpers", "manager"];

/// Folders that hold no source of ours.
const NOT_OURS: [&str; 4] = ["target", "node_modules", "corpus", "artifacts"];

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// What a crate may build on within this repository.
enum Inner {
    Any,
    Only(&'static [&'static str]),
}

/// The layers, by folder. A crate may use those below it: src, shards, storage, engine, protocol.
const LAYERS: [(&str, Inner); 10] = [
    ("protocol", Inner::Only(&[])),
    ("ring", Inner::Only(&[])),
    ("engine", Inner::Only(&["bitsim-protocol"])),
    ("storage", Inner::Only(&["bitsim-engine", "bitsim-protocol"])),
    ("shards", Inner::Only(&["bitsim-storage", "bitsim-engine", "bitsim-protocol", "bitsim-ring"])),
    ("loadtest", Inner::Only(&["bitsim-protocol", "bitsim-ring"])),
    ("sim", Inner::Only(&["bitsim-engine", "bitsim-storage", "bitsim-protocol"])),
    ("benches", Inner::Any),
    ("fuzz", Inner::Any),
    (".", Inner::Any),
];

/// Everything that the crates without IO, clocks and threads may build on.
const PURE: [(&str, &[&str]); 2] =
    [("protocol", &[]), ("engine", &["bitsim-protocol", "bytes", "foldhash", "hashbrown", "rkyv"])];

#[test]
fn crates_build_on_lower_layers_only() {
    let members = members();
    assert!(members.len() >= 6, "only {members:?} were found");
    let mut faults = Vec::new();
    for member in &members {
        let Some((_, inner)) = LAYERS.iter().find(|(folder, _)| folder == member) else {
            faults.push(format!("{member} has no layer: add it to the list in this test"));
            continue;
        };
        let used = dependencies(&manifest(member));
        if let Inner::Only(allowed) = inner {
            let ours = used.iter().filter(|name| name.starts_with("bitsim"));
            let above = ours.filter(|name| !allowed.contains(&name.as_str()));
            faults.extend(above.map(|name| format!("{member} must not depend on {name}")));
        }
        if let Some((_, allowed)) = PURE.iter().find(|(folder, _)| folder == member) {
            let other = used.iter().filter(|name| !allowed.contains(&name.as_str()));
            faults.extend(other.map(|name| format!("{member} is to stay pure, and depends on {name}")));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn files_are_short_and_modules_have_names() {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    assert!(files.len() >= 100, "only {} files were found", files.len());
    let faults: Vec<String> = files.iter().flat_map(|file| faults_of(file)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn faults_of(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let name = file.strip_prefix(root()).unwrap().display();
    let mut faults = Vec::new();
    let lines = production_lines(&source);
    if lines > FILE_LINES_MAX {
        faults.push(format!("{name} has {lines} lines, of {FILE_LINES_MAX}"));
    }
    let empty = source.lines().filter_map(module_name).filter(|module| EMPTY_NAMES.contains(module));
    faults.extend(empty.map(|module| format!("{name} has a module that is named {module}")));
    faults
}

/// The lines before the unit tests, which come last in a file.
fn production_lines(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let is_test =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(is_test).unwrap_or(lines.len())
}

/// The name in `mod name;` and `mod name {`, of any visibility.
fn module_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let declared = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = declared.strip_prefix("mod ")?;
    name.strip_suffix(';').or_else(|| name.strip_suffix('{')).map(str::trim)
}

/// The crates of the workspace, and the fuzz targets, which are a workspace of their own.
fn members() -> BTreeSet<String> {
    let manifest = manifest(".");
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let mut members: BTreeSet<String> =
        members.iter().map(|member| member.as_str().unwrap().to_owned()).collect();
    members.insert("fuzz".to_owned());
    members
}

/// The package names that a manifest's tables of dependencies name, those for one platform included.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = platforms.filter_map(|(_, platform)| platform.as_table()).chain([manifest]);
    let mut names = BTreeSet::new();
    for table in tables {
        for section in SECTIONS.iter().filter_map(|section| table.get(*section)?.as_table()) {
            names.extend(section.iter().map(|(name, value)| package(name, value)));
        }
    }
    names
}

/// What is depended on, by its own name.
fn package(name: &str, value: &Value) -> String {
    value.get("package").and_then(Value::as_str).unwrap_or(name).to_owned()
}

fn manifest(folder: &str) -> Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).parse().unwrap()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()) {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_rules_notice() {
    let manifest: Table = "[dependencies]\na = '1'\nb = { package = 'c', version = '1' }\n\
        [dev-dependencies]\nd = '1'\n[target.'cfg(unix)'.dependencies]\ne = '1'"
        .parse()
        .unwrap();
    assert_eq!(dependencies(&manifest), ["a", "c", "d", "e"].map(str::to_owned).into());
    for line in ["mod utils;", "pub mod utils {", "    pub(crate) mod utils;", "pub(in crate::a) mod utils;"]
    {
        assert_eq!(module_name(line), Some("utils"), "{line}");
    }
    assert_eq!(module_name("// mod utils;"), None);
    assert_eq!(production_lines("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
    assert_eq!(production_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
}
