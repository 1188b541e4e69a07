//! Files that import each other, directly or in a longer circle.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Import, Sources, imports};

/// Each circle of the crate's files, with every import in it and what to do.
pub fn circles(directory: &str, sources: &Sources) -> Vec<String> {
    let imports = imports(sources);
    let reached = reached(&imports);
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (file, others) in &reached {
        if !others.contains(file) || seen.contains(file) {
            continue;
        }
        let circle: BTreeSet<&String> = others
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(file)))
            .collect();
        findings.push(format!(
            "{directory}: {} files import each other: move what both need into a file of its own that imports neither, and import things from the file that defines them{}",
            circle.len(),
            edges(directory, &imports, &circle)
        ));
        seen.extend(circle);
    }
    findings
}

/// The imports within the circle, those of one file by another as one.
fn edges(directory: &str, imports: &[Import], circle: &BTreeSet<&String>) -> String {
    let mut edges: BTreeMap<(&String, &String), Vec<usize>> = BTreeMap::new();
    for import in imports {
        if circle.contains(&import.from) && circle.contains(&import.to) {
            let lines = edges.entry((&import.from, &import.to)).or_default();
            lines.push(import.line);
        }
    }
    let edges = edges.iter().map(|((from, to), lines)| {
        let further: Vec<String> = lines.iter().skip(1).map(usize::to_string).collect();
        let again = if further.is_empty() {
            String::new()
        } else {
            format!(" (again in line {})", further.join(", "))
        };
        format!("\n    {directory}/{from}:{}: imports {to}{again}", lines[0])
    });
    edges.collect()
}

/// For each file the files that its imports lead to, directly or through others.
fn reached(imports: &[Import]) -> BTreeMap<&String, BTreeSet<&String>> {
    let mut reached: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for import in imports {
        reached.entry(&import.from).or_default().insert(&import.to);
    }
    loop {
        let before: usize = reached.values().map(BTreeSet::len).sum();
        let known = reached.clone();
        for others in reached.values_mut() {
            let further: Vec<&String> = others
                .iter()
                .filter_map(|other| known.get(*other))
                .flatten()
                .copied()
                .collect();
            others.extend(further);
        }
        if reached.values().map(BTreeSet::len).sum::<usize>() == before {
            return reached;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files
            .iter()
            .map(|(path, source)| ((*path).to_owned(), (*source).to_owned()))
            .collect();
        circles("src", &sources)
    }

    #[test]
    fn files_that_import_one_way_are_no_circle() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use b::B;"),
            ("a.rs", "use std::fmt;\nfn f() {}"),
            ("b/mod.rs", "mod c;\nmod d;\npub use c::*;\npub struct B;"),
            (
                "b/c.rs",
                "use super::d::D;\nuse crate::a;\nfn g() { a::f() }",
            ),
            (
                "b/d.rs",
                "// use super::c::C;\npub struct D;\n#[cfg(test)]\nmod tests { use super::super::c; use crate::B; }",
            ),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn two_files_that_import_each_other_are_found() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::{\n    b::{self, B},\n};"),
            ("b.rs", "\nuse super::a::A;\nuse super::a::C;"),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("2 files import each other"));
        assert!(found[0].contains("\n    src/a.rs:2: imports b.rs"));
        assert!(found[0].ends_with("\n    src/b.rs:2: imports a.rs (again in line 3)"));
    }

    #[test]
    fn a_longer_circle_is_found_through_a_path_in_code() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
            ("a.rs", "use crate::b as other;\nfn f() { other::g() }"),
            ("b.rs", "fn g() -> Vec<crate::c::C> { vec![] }"),
            (
                "c.rs",
                "use crate::d::D;\nfn h() { println!(\"{}\", super::a::f()) }",
            ),
            ("d.rs", "pub struct D;"),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("3 files import each other"));
        assert!(found[0].contains("\n    src/c.rs:2: imports a.rs"));
        assert!(!found[0].contains("d.rs"));
    }

    #[test]
    fn a_path_through_a_reexport_leads_to_the_file_that_reexports() {
        let files = [
            ("main.rs", "mod a;"),
            (
                "a/mod.rs",
                "mod b;\nmod c;\npub(crate) use b::B;\nuse c::C;",
            ),
            ("a/b.rs", "pub struct B;"),
            ("a/c.rs", "use super::B;\npub struct C;"),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("\n    src/a/mod.rs:4: imports a/c.rs"));
        assert!(found[0].contains("\n    src/a/c.rs:1: imports a/mod.rs"));
    }

    #[test]
    fn a_file_of_tests_may_import_what_it_tests() {
        let files = [
            ("lib.rs", "mod a;\n#[cfg(test)]\nmod a_tests;\nuse a::A;"),
            ("a.rs", "pub struct A;"),
            ("a_tests.rs", "use crate::B;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
