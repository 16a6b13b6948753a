//! Marks in prompts that other programs act on.

/// The first mark of a prompt that some programs take for a weight or another network, such as `(red:1.3)`, `((red))`, `[red]`
/// or `<lora:paint:0.8>`. Here every character of a prompt is text.
pub fn markup(prompt: &str) -> Option<&str> {
    let starts = prompt.char_indices().filter(|(at, c)| {
        // A bracket behind a backslash is text there, too.
        matches!(c, '(' | '[' | '<') && !prompt[..*at].ends_with('\\')
    });
    starts.into_iter().find_map(|(at, c)| {
        let rest = &prompt[at..];
        match c {
            '(' if rest.starts_with("((") => rest.find("))").map(|end| &rest[..end + 2]),
            '(' => weighted(rest),
            '[' => rest
                .find(']')
                .map(|end| &rest[..=end])
                .filter(|mark| mark.len() > 2),
            _ => network(rest),
        }
    })
}

/// `(a red cube:1.3)`.
fn weighted(rest: &str) -> Option<&str> {
    let end = rest.find(')')?;
    let (inside, weight) = rest[1..end].rsplit_once(':')?;
    let number = weight.trim().parse::<f64>().is_ok();
    (number && !inside.trim().is_empty()).then(|| &rest[..=end])
}

/// `<lora:name:0.8>`.
fn network(rest: &str) -> Option<&str> {
    let end = rest.find('>')?;
    let (kind, _) = rest[1..end].split_once(':')?;
    let known = ["lora", "lyco", "hypernet"];
    known.contains(&kind).then(|| &rest[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_other_programs_are_found() {
        for (prompt, mark) in [
            ("a (red:1.3) cube", "(red:1.3)"),
            ("a (dark red: .5) cube", "(dark red: .5)"),
            ("(x) a ((red)) cube", "((red))"),
            ("a [red] cube", "[red]"),
            ("[cat:dog:0.5]", "[cat:dog:0.5]"),
            ("a cube <lora:paint:0.8>", "<lora:paint:0.8>"),
            ("\u{e4} (\u{e4}:1)", "(\u{e4}:1)"),
        ] {
            assert_eq!(markup(prompt), Some(mark), "{prompt}");
        }
        for plain in [
            "a cube (red)",
            "at (10:30 p.m.)",
            "a \\(red:1.3\\) cube",
            "x < y > z",
            "<b>: bold",
            "((",
            "[] and (:1)",
            "a smile :) (:",
            "",
        ] {
            assert_eq!(markup(plain), None, "{plain}");
        }
    }
}
