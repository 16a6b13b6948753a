//! The order of classes.

/// Sorts names and leaves each once: as numbers where all are numbers, else by their letters.
pub(super) fn sort(names: &mut Vec<String>) {
    let numbers = names
        .iter()
        .all(|name| name.bytes().all(|b| b.is_ascii_digit()));
    if numbers {
        // Numbers may be longer than any integer.
        names.sort_by(|a, b| {
            let [x, y] = [a, b].map(|name| name.trim_start_matches('0'));
            x.len()
                .cmp(&y.len())
                .then_with(|| x.cmp(y))
                .then_with(|| a.cmp(b))
        });
    } else {
        names.sort();
    }
    names.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_as_numbers() {
        let names = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(|n| (*n).into()).collect();
            sort(&mut names);
            names
        };
        assert_eq!(names(&["10", "2", "1", "2"]), ["1", "2", "10"]);
        assert_eq!(names(&["007", "10", "7"]), ["007", "7", "10"]);
        assert_eq!(names(&["10", "2", "x"]), ["10", "2", "x"]);
        assert_eq!(
            names(&["99999999999999999999999", "100000000000000000000000"])[0].len(),
            23
        );
    }
}
