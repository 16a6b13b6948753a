//! Which file uses which.
//!
//! A file uses another if it imports one of its items, or names one by a path. Where an item comes through a re-export,
//! the file that defines it is meant: that a parent declares its children and passes on what they define is no use of
//! them, but it is one if it names what they define itself. So a parent and its children make no circle as long as either
//! the parent only passes on, or the children need nothing of it.

use super::source::{Source, Token};
use std::collections::{BTreeMap, BTreeSet};

/// The files that each uses, by position.
pub type Graph = Vec<BTreeSet<usize>>;

type Path = Vec<String>;

/// The files of one crate.
struct Crate<'a> {
    files: &'a [Source],
    /// Position of each module's file.
    modules: BTreeMap<&'a [String], usize>,
    /// For each file, what its names stand for, from the root of the crate.
    aliases: Vec<BTreeMap<String, Path>>,
}

/// An import: the name that it gives, what it stands for, and whether it is passed on.
struct Import {
    name: String,
    path: Path,
    public: bool,
}

pub fn graph(files: &[Source]) -> Graph {
    let modules = files.iter().enumerate();
    let modules = modules.map(|(i, file)| (file.module.as_slice(), i));
    let mut all = Crate {
        files,
        modules: modules.collect(),
        aliases: vec![BTreeMap::new(); files.len()],
    };
    let parsed: Vec<_> = files.iter().map(|file| imports(&file.tokens)).collect();
    for (i, (found, _)) in parsed.iter().enumerate() {
        for import in found {
            // Names of other crates stay as they are and lead nowhere.
            if let Some(path) = all.absolute(i, &import.path) {
                all.aliases[i].insert(import.name.clone(), path);
            }
        }
    }
    let used = parsed.iter().enumerate();
    let used = used.map(|(i, (found, rest))| all.uses(i, found, rest));
    used.collect()
}

impl Crate<'_> {
    /// The files that file `i` uses.
    fn uses(&self, i: usize, imports: &[Import], rest: &[Token]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut add = |path: &[String]| {
            if let Some(path) = self.absolute(i, path) {
                found.extend(self.file(&path, 0).filter(|file| *file != i));
            }
        };
        let named = |name: &String| rest.contains(&Token::Name(name.clone()));
        for import in imports {
            if !import.public || named(&import.name) {
                add(&import.path);
            }
        }
        for path in paths(rest) {
            add(&path);
        }
        found
    }

    /// A path as seen in file `i`, from the root of the crate; `None` if it leads out of it.
    fn absolute(&self, i: usize, path: &[String]) -> Option<Path> {
        let module = &self.files[i].module;
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let kept = module.len().checked_sub(supers)?;
                return Some([&module[..kept], &path[supers..]].concat());
            }
            _ => {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                match self.modules.contains_key(child.as_slice()) {
                    true => child,
                    false => self.aliases[i].get(first)?.clone(),
                }
            }
        };
        Some([start.as_slice(), rest].concat())
    }

    /// The file that defines what a path leads to; `None` for a module itself.
    fn file(&self, path: &[String], depth: usize) -> Option<usize> {
        assert!(depth < 20, "an import of itself: {path:?}");
        let known = (0..=path.len()).rev();
        let mut known = known.filter_map(|n| Some((n, *self.modules.get(&path[..n])?)));
        let (inside, file) = known.next()?;
        let (name, rest) = path[inside..].split_first()?;
        match self.aliases[file].get(name) {
            Some(target) if *target != path => {
                self.file(&[target.as_slice(), rest].concat(), depth + 1)
            }
            _ => Some(file),
        }
    }
}

/// The imports of a file, and its tokens without them.
fn imports(tokens: &[Token]) -> (Vec<Import>, Vec<Token>) {
    let (mut found, mut kept) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i] != Token::Name("use".into()) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let public = matches!(
            kept.last(),
            Some(Token::Name(word)) if word == "pub"
        ) || matches!(kept.last(), Some(Token::Mark(')')));
        let length = tokens[i..].iter().take_while(|t| **t != Token::Mark(';'));
        let end = i + length.count();
        let mut tree = &tokens[i + 1..end];
        flatten(&[], &mut tree, public, &mut found);
        i = end + 1;
    }
    (found, kept)
}

/// Takes one entry of a tree of imports, with all that is in its braces.
fn flatten(start: &[String], tree: &mut &[Token], public: bool, found: &mut Vec<Import>) {
    let mut path = start.to_vec();
    while let Some((token, rest)) = tree.split_first() {
        *tree = rest;
        match token {
            Token::Name(word) if word == "as" => {
                if let Some((Token::Name(name), rest)) = rest.split_first() {
                    *tree = rest;
                    let name = name.clone();
                    found.push(Import { name, path, public });
                }
                return;
            }
            Token::Name(word) if word == "self" && !start.is_empty() => {}
            Token::Name(word) => path.push(word.clone()),
            Token::Mark('{') => {
                while !matches!(tree.first(), None | Some(Token::Mark('}'))) {
                    flatten(&path, tree, public, found);
                    if tree.first() == Some(&Token::Mark(',')) {
                        *tree = &tree[1..];
                    }
                }
                *tree = tree.get(1..).unwrap_or_default();
                return;
            }
            Token::Mark('*') => path.push("*".into()),
            Token::Joint => {}
            Token::Mark(_) => return,
        }
        if matches!(tree.first(), None | Some(Token::Mark(',' | '}'))) {
            let name = path.last().cloned().unwrap_or_default();
            found.push(Import { name, path, public });
            return;
        }
    }
}

/// All paths of two names or more.
fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let Token::Name(first) = &tokens[i] else {
            // What comes after a path from outside, `::std`, or a type in brackets, is no start of one.
            i += 1 + usize::from(tokens[i] == Token::Joint);
            continue;
        };
        let mut path = vec![first.clone()];
        while let [Token::Joint, Token::Name(next), ..] = &tokens[i + 1..] {
            path.push(next.clone());
            i += 2;
        }
        if path.len() > 1 {
            found.push(path);
        }
        i += 1;
    }
    found
}

/// Groups of files each of which leads to all others of its group, with two files or more.
pub fn circles(graph: &Graph) -> Vec<Vec<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..graph.len()).map(|i| reach(graph, i)).collect();
    let mut groups = BTreeSet::new();
    for (i, from) in reached.iter().enumerate() {
        let group: Vec<usize> = from
            .iter()
            .copied()
            .filter(|j| reached[*j].contains(&i))
            .collect();
        if !group.is_empty() {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// All files that one leads to.
pub fn reach(graph: &Graph, from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(i) = next.pop() {
        next.extend(graph[i].iter().copied().filter(|j| found.insert(*j)));
    }
    found
}
