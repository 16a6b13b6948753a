//! Numbers beside an axis, and in words about a chart.

/// A number beside an axis.
pub fn label(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        v if v >= 1e-3 => trimmed(value),
        // Of 2.5e-4, the 5 says something; of 3.0e-4, the 0 does not.
        _ => format!("{value:.1e}").replace(".0e", "e"),
    }
}

/// With at most three digits that say something, or four of a small number: quarters of a hundredth are places on an axis.
fn trimmed(value: f64) -> String {
    let most = if value.abs() < 1.0 { 3 } else { 2 };
    let digits = most - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", digits.clamp(0, 6) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let labels = [123_456.0, 2_500_000.0, 0.0003, 0.25, -4.0, 12_345.0].map(label);
        assert_eq!(labels, ["123k", "2.5M", "3e-4", "0.25", "-4", "12.3k"]);
    }
}
