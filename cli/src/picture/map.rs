//! A picture of a search: what each jump costs, and which were chosen.

use fewstep::image::Picture;
use fewstep::schedule::Schedule;

/// Pixels a jump.
const CELL: usize = 8;

const WHITE: [u8; 3] = [255, 255, 255];
const CHOSEN: [u8; 3] = [220, 40, 40];
const POINT: [u8; 3] = [40, 90, 200];

/// From left to right the level a jump starts at, from top to bottom the one it ends at; the darker, the dearer, on a
/// scale of logarithms. Chosen jumps are red, chosen levels blue on the diagonal.
pub fn map(found: &Schedule) -> Picture {
    let points = found.costs.points();
    let jumps = (0..points).flat_map(|to| (0..to).map(move |from| (from, to)));
    let price = |from: usize, to: usize| found.costs.cost(from, to).max(0.0).ln_1p();
    let dearest = jumps.map(|(from, to)| price(from, to)).fold(0.0, f64::max);
    let chosen = |from: usize, to: usize| {
        let mut pairs = found.indices.windows(2);
        pairs.any(|pair| pair == [from, to])
    };
    let colour = |from: usize, to: usize| {
        if from > to {
            WHITE
        } else if from == to {
            let on = found.indices.contains(&from);
            if on { POINT } else { WHITE }
        } else if chosen(from, to) {
            CHOSEN
        } else {
            // From light grey for nothing to black.
            let share = price(from, to) / dearest.max(f64::MIN_POSITIVE);
            [(225.0 * (1.0 - share)) as u8; 3]
        }
    };
    let mut pixels = Vec::with_capacity(points * points * CELL * CELL * 3);
    for to in 0..points {
        let line: Vec<u8> = (0..points)
            .flat_map(|from| colour(from, to).repeat(CELL))
            .collect();
        pixels.extend(line.repeat(CELL));
    }
    Picture {
        width: points * CELL,
        height: points * CELL,
        channels: 3,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::grid::SigmaGrid;
    use fewstep::schedule::CostMatrix;

    #[test]
    fn chosen_jumps_stand_out() {
        let fine = SigmaGrid::new(vec![4.0, 3.0, 2.0, 1.0]).unwrap();
        let mut costs = vec![0.0; 16];
        costs[3] = 9.0;
        costs[2] = 1.0;
        let found = Schedule {
            grid: fine.every(3).unwrap(),
            fine,
            indices: vec![0, 1, 3],
            costs: CostMatrix::from_values(4, costs).unwrap(),
        };
        let picture = map(&found);
        let at = |from: usize, to: usize| {
            let start = (to * CELL * picture.width + from * CELL) * 3;
            [0, 1, 2].map(|c| picture.pixels[start + c])
        };
        assert_eq!((picture.width, picture.height), (32, 32));
        assert_eq!(picture.pixels.len(), 32 * 32 * 3);
        assert_eq!([at(0, 1), at(1, 3)], [CHOSEN, CHOSEN]);
        assert_eq!([at(0, 0), at(1, 1), at(3, 3)], [POINT, POINT, POINT]);
        assert_eq!([at(2, 2), at(3, 0)], [WHITE, WHITE]);
        // The dearest jump is black, a cheaper one is not.
        assert_eq!(at(0, 3), [0; 3]);
        assert!(at(0, 2)[0] > 100 && at(0, 2)[0] < at(1, 2)[0]);
    }
}
