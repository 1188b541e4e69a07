//! Which file of a crate imports which, read from its `use`s and from paths such as `crate::a::b::f()`.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Token, closing, tokens};

/// The source files of one crate, by their paths below `src`.
pub type Sources = BTreeMap<String, String>;

/// One file names something of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: String,
    pub line: usize,
    pub to: String,
}

/// A path of modules from the crate's root.
type Module = Vec<String>;

/// Every import of one file of the crate by another. What stands under `#[cfg(test)]` imports nothing.
pub fn imports(sources: &Sources) -> Vec<Import> {
    let untested: BTreeMap<&String, Vec<Token>> = sources
        .iter()
        .map(|(path, source)| (path, without_tests(tokens(source))))
        .collect();
    let mut files: BTreeMap<Module, String> = sources
        .keys()
        .map(|path| (module(path), path.clone()))
        .collect();
    for (path, source) in sources {
        for test in test_modules(&tokens(source)) {
            files.remove(&[module(path), vec![test]].concat());
        }
    }
    let mut found = BTreeSet::new();
    for (module, path) in &files {
        let reader = Reader {
            files: &files,
            module,
            path,
            tokens: &untested[path],
        };
        found.extend(reader.imports());
    }
    found.into_iter().collect()
}

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`; the root is empty.
fn module(path: &str) -> Module {
    let mut names: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    names.pop_if(|name| ["mod", "lib", "main"].contains(name));
    names.into_iter().map(str::to_owned).collect()
}

const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn is_cfg_test(tokens: &[Token]) -> bool {
    let mut pairs = tokens.iter().zip(CFG_TEST);
    tokens.len() >= CFG_TEST.len() && pairs.all(|(token, text)| token.is(text))
}

/// The files that are modules under `#[cfg(test)]`.
fn test_modules(tokens: &[Token]) -> Vec<String> {
    let starts = (0..tokens.len()).filter(|at| is_cfg_test(&tokens[*at..]));
    starts
        .filter_map(|at| {
            let item = tokens.get(at + CFG_TEST.len()..at + CFG_TEST.len() + 3)?;
            (item[0].is("mod") && item[2].is(";")).then(|| item[1].text.clone())
        })
        .collect()
}

/// The tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !is_cfg_test(&tokens[at..]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += CFG_TEST.len();
        while at < tokens.len() && !tokens[at].is(";") && !tokens[at].is("{") {
            at += 1;
        }
        if at < tokens.len() && tokens[at].is("{") {
            at = closing(&tokens, at);
        }
        at += 1;
    }
    kept
}

/// One name that a `use` brings in.
struct Use {
    path: Vec<String>,
    name: String,
    line: usize,
    is_public: bool,
}

struct Reader<'a> {
    files: &'a BTreeMap<Module, String>,
    module: &'a Module,
    path: &'a String,
    tokens: &'a [Token],
}

impl Reader<'_> {
    fn imports(&self) -> Vec<Import> {
        let mut uses = Vec::new();
        let mut paths = Vec::new();
        self.read(&mut uses, &mut paths);

        let mut modules = BTreeMap::new();
        let mut found = Vec::new();
        for each in uses {
            let Some(path) = self.absolute(&each.path, &modules) else {
                continue;
            };
            // A module under a private name is no import yet: what is named through it is one.
            if self.files.contains_key(&path) && !each.is_public && each.name != "*" {
                modules.insert(each.name, path);
                continue;
            }
            found.extend(self.import(&path, each.line));
        }
        for (path, line) in paths {
            let path = self.absolute(&path, &modules);
            found.extend(path.and_then(|path| self.import(&path, line)));
        }
        found
    }

    /// The names that the file's `use`s bring in, and its paths of more than one name.
    fn read(&self, uses: &mut Vec<Use>, paths: &mut Vec<(Vec<String>, usize)>) {
        let mut at = 0;
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            if token.is("use") {
                let is_public =
                    at > 0 && (self.tokens[at - 1].is("pub") || self.tokens[at - 1].is(")"));
                let mut tree = Tree {
                    tokens: self.tokens,
                    at: at + 1,
                    is_public,
                    uses,
                };
                tree.read(Vec::new());
                at = tree.at;
                continue;
            }
            let mut names = vec![token.text.clone()];
            let mut end = at + 1;
            while token.is_name()
                && let Some([mark, name]) = self.tokens.get(end..end + 2)
                && mark.is("::")
                && name.is_name()
            {
                names.push(name.text.clone());
                end += 2;
            }
            let goes_on = at > 0 && self.tokens[at - 1].is("::");
            if names.len() > 1 && !goes_on {
                paths.push((names, token.line));
            }
            at = end;
        }
    }

    /// The path from the crate's root; none for what another crate has.
    fn absolute(&self, path: &[String], modules: &BTreeMap<String, Module>) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.parent(self.module),
            name => {
                let child = [self.module.clone(), vec![name.to_owned()]].concat();
                let own = self.files.contains_key(&child).then_some(child);
                own.or_else(|| modules.get(name).cloned())?
            }
        };
        for name in rest {
            match name.as_str() {
                "super" => start = self.parent(&start),
                name => start.push(name.to_owned()),
            }
        }
        Some(start)
    }

    fn parent(&self, module: &Module) -> Module {
        module[..module.len().saturating_sub(1)].to_vec()
    }

    /// The import of the file that the path leads to: the longest part of it that is a file.
    fn import(&self, path: &Module, line: usize) -> Option<Import> {
        let parts = (0..=path.len()).rev().map(|length| &path[..length]);
        let to = parts.filter_map(|part| self.files.get(part)).next()?;
        (to != self.path).then(|| Import {
            from: self.path.clone(),
            line,
            to: to.clone(),
        })
    }
}

/// The tree of one `use`.
struct Tree<'a> {
    tokens: &'a [Token],
    at: usize,
    is_public: bool,
    uses: &'a mut Vec<Use>,
}

impl Tree<'_> {
    fn read(&mut self, mut path: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut name = String::new();
        while let Some(token) = self.tokens.get(self.at) {
            match token.text.as_str() {
                "{" => return self.group(&path),
                "," | "}" | ";" => break,
                "::" => {}
                "as" => {
                    self.at += 1;
                    name = self
                        .tokens
                        .get(self.at)
                        .map(|token| token.text.clone())
                        .unwrap_or_default();
                }
                "*" => name = "*".to_owned(),
                // `a::{self}` is `a`; `self::a` starts here.
                "self" if !path.is_empty() => {}
                word => path.push(word.to_owned()),
            }
            self.at += 1;
        }
        if name.is_empty() {
            name = path.last().cloned().unwrap_or_default();
        }
        self.uses.push(Use {
            path,
            name,
            line,
            is_public: self.is_public,
        });
    }

    fn group(&mut self, path: &[String]) {
        let end = closing(self.tokens, self.at);
        while self.at < end {
            self.at += 1;
            if self.at < end {
                self.read(path.to_vec());
            }
        }
        self.at = end + 1;
    }
}
