//! Rust as this test reads it: code without comments and literals, as tokens with their lines.

/// A token and the line that it stands on, counted from one.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The code's tokens: names and numbers, `::`, and every other mark by itself.
pub fn tokens(source: &str) -> Vec<Token> {
    let code = blank(source);
    let mut tokens: Vec<Token> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                other => other.len_utf8(),
            };
            tokens.push(Token {
                text: rest[..length].to_owned(),
                line: line + 1,
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// The index of the bracket that closes the one at `open`, or the last token.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The source with blanks for comments and literals; every line keeps its number.
fn blank(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, &code);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        code.push(' ');
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    code
}

/// How long the comment or literal is that the text starts with; zero for code.
fn skipped(text: &str, before: &str) -> usize {
    let in_word = before.chars().next_back().is_some_and(is_word);
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return string(text);
    }
    if !in_word && let Some(length) = raw_string(text) {
        return length;
    }
    if text.starts_with('\'') {
        return character(text);
    }
    0
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#` and the like, with `b` or `c` before it.
fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let marks = start.strip_prefix('r')?;
    let body = marks.trim_start_matches('#').strip_prefix('"')?;
    let hashes = marks.len() - body.len() - 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let before = text.len() - body.len();
    Some(
        body.find(&end)
            .map_or(text.len(), |at| before + at + end.len()),
    )
}

/// A character literal; a lifetime is code.
fn character(text: &str) -> usize {
    let inner = &text[1..];
    let Some(first) = inner.chars().next() else {
        return 0;
    };
    if first == '\\' {
        return inner[2..].find('\'').map_or(0, |at| at + 4);
    }
    if inner[first.len_utf8()..].starts_with('\'') {
        return first.len_utf8() + 2;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_blanks() {
        let source =
            "a // b\n/* c /* d */ { */ e \"f \\\" {\" g r#\"h \" {\"# i b\"j\" k br\"l{\" m";
        assert_eq!(words(source), ["a", "e", "g", "i", "b", "k", "m"]);
    }

    #[test]
    fn characters_are_literals_and_lifetimes_are_code() {
        let source = "'{' '\\'' '\\u{7b}' '…' &'a str";
        assert_eq!(words(source), ["&", "'", "a", "str"]);
    }

    #[test]
    fn every_token_knows_its_line() {
        let tokens = tokens("a::b\n/*\n*/ \"\n\" c");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 1, 1, 4]);
    }
}
