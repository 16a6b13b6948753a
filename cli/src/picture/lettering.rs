//! Small letters for pictures: capitals, digits and a few signs, 5 x 7 pixels each.

/// Height of a line of text in pixels.
pub const HEIGHT: usize = 7;
/// From one letter to the next.
pub const ADVANCE: usize = 6;

/// Seven rows of five pixels, the leftmost the highest of five bits.
const LETTERS: &[(char, [u8; HEIGHT])] = &[
    ('A', [14, 17, 17, 31, 17, 17, 17]),
    ('B', [30, 17, 17, 30, 17, 17, 30]),
    ('C', [14, 17, 16, 16, 16, 17, 14]),
    ('D', [30, 17, 17, 17, 17, 17, 30]),
    ('E', [31, 16, 16, 30, 16, 16, 31]),
    ('F', [31, 16, 16, 30, 16, 16, 16]),
    ('G', [14, 17, 16, 23, 17, 17, 15]),
    ('H', [17, 17, 17, 31, 17, 17, 17]),
    ('I', [14, 4, 4, 4, 4, 4, 14]),
    ('J', [7, 2, 2, 2, 2, 18, 12]),
    ('K', [17, 18, 20, 24, 20, 18, 17]),
    ('L', [16, 16, 16, 16, 16, 16, 31]),
    ('M', [17, 27, 21, 21, 17, 17, 17]),
    ('N', [17, 17, 25, 21, 19, 17, 17]),
    ('O', [14, 17, 17, 17, 17, 17, 14]),
    ('P', [30, 17, 17, 30, 16, 16, 16]),
    ('Q', [14, 17, 17, 17, 21, 18, 13]),
    ('R', [30, 17, 17, 30, 20, 18, 17]),
    ('S', [15, 16, 16, 14, 1, 1, 30]),
    ('T', [31, 4, 4, 4, 4, 4, 4]),
    ('U', [17, 17, 17, 17, 17, 17, 14]),
    ('V', [17, 17, 17, 17, 17, 10, 4]),
    ('W', [17, 17, 17, 21, 21, 21, 10]),
    ('X', [17, 17, 10, 4, 10, 17, 17]),
    ('Y', [17, 17, 17, 10, 4, 4, 4]),
    ('Z', [31, 1, 2, 4, 8, 16, 31]),
    ('0', [14, 17, 19, 21, 25, 17, 14]),
    ('1', [4, 12, 4, 4, 4, 4, 14]),
    ('2', [14, 17, 1, 2, 4, 8, 31]),
    ('3', [31, 2, 4, 2, 1, 17, 14]),
    ('4', [2, 6, 10, 18, 31, 2, 2]),
    ('5', [31, 16, 30, 1, 1, 17, 14]),
    ('6', [6, 8, 16, 30, 17, 17, 14]),
    ('7', [31, 1, 2, 4, 8, 8, 8]),
    ('8', [14, 17, 17, 14, 17, 17, 14]),
    ('9', [14, 17, 17, 15, 1, 2, 12]),
    ('.', [0, 0, 0, 0, 0, 12, 12]),
    (',', [0, 0, 0, 0, 12, 4, 8]),
    (':', [0, 12, 12, 0, 12, 12, 0]),
    ('+', [0, 4, 4, 31, 4, 4, 0]),
    ('-', [0, 0, 0, 31, 0, 0, 0]),
    ('(', [2, 4, 8, 8, 8, 4, 2]),
    (')', [8, 4, 2, 2, 2, 4, 8]),
    ('/', [0, 1, 2, 4, 8, 16, 0]),
    ('_', [0, 0, 0, 0, 0, 0, 31]),
    ('\'', [4, 4, 8, 0, 0, 0, 0]),
    ('=', [0, 0, 31, 0, 31, 0, 0]),
];

/// The width of a line of text in pixels.
pub fn width(text: &str) -> usize {
    text.chars().count() * ADVANCE
}

/// The pixels `(x, y)` to paint for a line of text; what has no letter is a gap.
pub fn pixels(text: &str) -> Vec<(usize, usize)> {
    let mut painted = Vec::new();
    for (i, c) in text.chars().enumerate() {
        let c = c.to_ascii_uppercase();
        let Some((_, rows)) = LETTERS.iter().find(|(letter, _)| *letter == c) else {
            continue;
        };
        for (y, row) in rows.iter().enumerate() {
            let lit = (0..5).filter(|x| row & (16 >> x) != 0);
            painted.extend(lit.map(|x| (i * ADVANCE + x, y)));
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_differ_and_stay_in_their_cells() {
        for (i, (a, rows)) in LETTERS.iter().enumerate() {
            assert!(rows.iter().all(|r| *r < 32), "{a}");
            for (b, others) in &LETTERS[..i] {
                assert!(a != b && rows != others, "{a} {b}");
            }
        }
        assert_eq!(pixels("i").len(), 11);
        let second = pixels(" l");
        assert!(
            second
                .iter()
                .all(|(x, y)| (ADVANCE..11).contains(x) && *y < HEIGHT)
        );
        assert_eq!(second.len(), 11);
    }
}
