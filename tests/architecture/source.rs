//! Source files as the rules see them: tokens without comments, texts and what is compiled for tests only.

use std::collections::BTreeSet;
use std::path::Path;

/// A file with what of it goes into the product.
#[derive(Debug)]
pub struct Source {
    /// From the root of the repository, such as `src/network/mod.rs`.
    pub path: String,
    /// Its module, from its crate's root: none, `network`, `network::walk`.
    pub module: Vec<String>,
    pub tokens: Vec<Token>,
    /// The modules that it declares for tests only.
    only_tests: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Name(String),
    /// `::`
    Joint,
    Mark(char),
}

impl Source {
    /// `path` from the root of the repository; `root` is the folder of the crate, such as `cli/src`.
    pub fn new(path: &str, root: &str, text: &str) -> Self {
        let inside = path.strip_prefix(root).unwrap_or(path);
        let inside = inside.trim_matches('/').trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(str::to_string).collect();
        let last = module.last().map(String::as_str);
        if matches!(last, Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let (tokens, only_tests) = product(tokens(text));
        Self {
            path: path.to_string(),
            module,
            tokens,
            only_tests,
        }
    }
}

/// All files of a crate that are not for tests only.
pub fn read(repository: &Path, root: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&repository.join(root), &mut |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(repository).unwrap().to_str().unwrap();
        found.push(Source::new(&path.replace('\\', "/"), root, &text));
    });
    without_tests(found)
}

/// Leaves out the modules that are declared for tests only, and what is below them.
pub fn without_tests(files: Vec<Source>) -> Vec<Source> {
    let tests: Vec<Vec<String>> = files
        .iter()
        .flat_map(|file| {
            let inside = |name: &String| [file.module.clone(), vec![name.clone()]].concat();
            file.only_tests.iter().map(inside)
        })
        .collect();
    let product = |file: &Source| !tests.iter().any(|test| file.module.starts_with(test));
    files.into_iter().filter(product).collect()
}

/// Calls `see` with every Rust file below a folder.
pub fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, see);
        } else if path.extension().is_some_and(|e| e == "rs") {
            see(&path);
        }
    }
}

/// Names and marks; comments, texts and numbers are left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let mut places = from..chars.len();
        let place = places.find(|i| chars[*i..].starts_with(&end));
        place.map_or(chars.len(), |i| i + end.len())
    };
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if c == '/' && next == '/' {
            at = find(at, "\n");
        } else if c == '/' && next == '*' {
            at = find(at, "*/");
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += 1 + usize::from(chars[at] == '\\');
            }
            at += 1;
        } else if c == '\'' {
            // A letter between marks, or a lifetime.
            at = match (next, chars.get(at + 2)) {
                ('\\', _) => find(at + 3, "'"),
                (_, Some('\'')) => at + 3,
                _ => at + 1,
            };
        } else if word(c) {
            let start = at;
            while chars.get(at).is_some_and(|c| word(*c)) {
                at += 1;
            }
            let name: String = chars[start..at].iter().collect();
            let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
            let raw = matches!(name.as_str(), "r" | "br" | "cr");
            if raw && chars.get(at + hashes) == Some(&'"') {
                at = find(at + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
            } else if name == "b" && chars.get(at) == Some(&'"') {
                // The text that follows.
            } else if !c.is_numeric() {
                found.push(Token::Name(name));
            }
        } else if c == ':' && next == ':' {
            found.push(Token::Joint);
            at += 2;
        } else {
            if !c.is_whitespace() {
                found.push(Token::Mark(c));
            }
            at += 1;
        }
    }
    found
}

/// What is left without items under `#[cfg(test)]`, and the modules among those that are files of their own.
fn product(tokens: Vec<Token>) -> (Vec<Token>, BTreeSet<String>) {
    let attribute = self::tokens("#[cfg(test)]");
    let mut kept = Vec::new();
    let mut modules = BTreeSet::new();
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        let Some(item) = rest.strip_prefix(attribute.as_slice()) else {
            kept.push(first.clone());
            rest = &rest[1..];
            continue;
        };
        let (item, after) = item.split_at(item_length(item));
        if let [.., Token::Name(word), Token::Name(name), Token::Mark(';')] = item
            && word == "mod"
        {
            modules.insert(name.clone());
        }
        rest = after;
    }
    (kept, modules)
}

/// Up to the semicolon, or the brace that closes the body.
fn item_length(item: &[Token]) -> usize {
    let visibility = ["pub", "crate", "super", "self", "in"];
    let mut names = item.iter().filter_map(|token| match token {
        Token::Name(name) if !visibility.contains(&name.as_str()) => Some(name),
        _ => None,
    });
    let is_use = names.next().is_some_and(|name| name == "use");
    let mut depth = 0;
    for (i, token) in item.iter().enumerate() {
        let Token::Mark(mark) = token else { continue };
        depth += match mark {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        if depth == 0 && (*mark == ';' || *mark == '}' && !is_use) {
            return i + 1;
        }
    }
    item.len()
}
