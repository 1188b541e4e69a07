//! How long files and functions are.

use super::code::{Token, closing, tokens};

/// Lines that a source file may have.
pub const FILE: usize = 450;
/// Lines that a function may have, from its `fn` to its closing brace.
pub const FUNCTION: usize = 80;

/// What is too long in one source file, and what to do.
pub fn too_long(path: &str, source: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = source.lines().count();
    if lines > FILE {
        findings.push(format!(
            "{path}:{}: the file has {lines} lines, {FILE} are the limit: split it, one reason to exist for each part",
            FILE + 1
        ));
    }
    for function in functions(&tokens(source)) {
        if function.lines > FUNCTION {
            findings.push(format!(
                "{path}:{}: fn {} has {} lines, {FUNCTION} are the limit: take steps with names out of it",
                function.line, function.name, function.lines
            ));
        }
    }
    findings
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

fn functions(tokens: &[Token]) -> Vec<Function> {
    let pairs = tokens.iter().zip(tokens.iter().skip(1)).enumerate();
    let named = pairs.filter(|(_, (word, name))| word.is("fn") && name.is_name());
    named
        .filter_map(|(at, (word, name))| {
            let open = body(tokens, at)?;
            let end = tokens[closing(tokens, open)].line;
            Some(Function {
                name: name.text.clone(),
                line: word.line,
                lines: end - word.line + 1,
            })
        })
        .collect()
}

/// Where the function's body opens; a declaration has none.
fn body(tokens: &[Token], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match tokens.get(at)?.text.as_str() {
            "{" => return Some(at),
            ";" => return None,
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a function of so many lines, one of them a comment with a brace.
    fn with_function(lines: usize) -> String {
        let body = "    let _ = [0_u8; 1];\n".repeat(lines - 3);
        format!(
            "trait Told {{\n    fn told(&self);\n}}\n\nfn long(_: [u8; 2]) {{\n    // }}\n{body}}}\n"
        )
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(too_long("a.rs", &"\n".repeat(FILE)).is_empty());
        let found = too_long("a.rs", &"\n".repeat(FILE + 1));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:451: the file has 451 lines"));
    }

    #[test]
    fn a_long_function_is_found() {
        assert!(too_long("a.rs", &with_function(FUNCTION)).is_empty());
        let found = too_long("a.rs", &with_function(FUNCTION + 1));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:5: fn long has 81 lines"));
    }
}
