//! The command that was typed, as it can be pasted into a shell.

/// Words as a shell takes them.
pub fn quoted(words: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%~".contains(c);
    let quote = |word: String| {
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.map(quote).collect::<Vec<_>>().join(" ")
}

/// What was typed.
pub fn typed() -> String {
    quoted(std::env::args())
}

/// What was typed, without a flag that would throw something away.
pub fn again() -> String {
    quoted(std::env::args().filter(|word| word != "--overwrite"))
}

/// What goes on with the run that was typed.
pub fn resuming() -> String {
    resumed(std::env::args())
}

fn resumed(typed: impl Iterator<Item = String>) -> String {
    let words = typed.filter(|word| !ONCE.contains(&word.as_str()));
    quoted(words.chain(["--resume".to_string()]))
}

/// What is for one start only.
const ONCE: [&str; 3] = ["--overwrite", "--resume", "--restart-schedule"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_can_be_pasted() {
        let typed = [
            "fewstep",
            "train",
            "a b.toml",
            "--set",
            "x=[1]",
            "--overwrite",
        ];
        let command = resumed(typed.iter().map(ToString::to_string));
        assert_eq!(command, "fewstep train 'a b.toml' --set 'x=[1]' --resume");
    }
}
