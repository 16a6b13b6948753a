//! What does not keep the rules yet. A test fails for an entry that is not needed any more: the lists only shrink.

/// Imports that close a circle of files: the first uses the second.
pub const CIRCLES: &[(&str, &str)] = &[];

/// Imports against the order of modules.
pub const UPWARDS: &[(&str, &str)] = &[];

/// Folders with more files beside each other than they may have, and how many they may have until then.
pub const CROWDED: &[(&str, usize)] = &[];

/// Modules that stand beside their folder instead of in it.
pub const BESIDE: &[&str] = &[];
