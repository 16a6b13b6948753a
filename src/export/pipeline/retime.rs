//! The first layer of a time embedding, written for other times.

/// The layer W of a network that is told a time in waves, as W' with W' waves(told) = W waves(meant) for each pair: the
/// smallest change of it that does this. `weight` is row-major `[rows, channels]`.
pub(super) fn retimed(weight: &[f32], channels: usize, pairs: &[(f64, f64)]) -> Vec<f32> {
    let told: Vec<Vec<f64>> = pairs
        .iter()
        .map(|(told, _)| waves(*told, channels))
        .collect();
    let meant = pairs.iter().map(|(_, meant)| waves(*meant, channels));
    let change: Vec<Vec<f64>> = meant
        .zip(&told)
        .map(|(meant, told)| meant.iter().zip(told).map(|(a, b)| a - b).collect())
        .collect();
    let gram: Vec<Vec<f64>> = told
        .iter()
        .map(|a| told.iter().map(|b| dot(a, b)).collect())
        .collect();
    // Rows of the pseudo-inverse of `told`.
    let dual = solve(gram, told);
    let rows = weight.chunks(channels).flat_map(|row| {
        let row: Vec<f64> = row.iter().map(|w| f64::from(*w)).collect();
        let answers: Vec<f64> = change.iter().map(|change| dot(&row, change)).collect();
        (0..channels)
            .map(|column| {
                let added = answers.iter().zip(&dual).map(|(a, dual)| a * dual[column]);
                (row[column] + added.sum::<f64>()) as f32
            })
            .collect::<Vec<f32>>()
    });
    rows.collect()
}

/// What a network of Stable Diffusion is told of a time. [DDPM App. B]
fn waves(time: f64, channels: usize) -> Vec<f64> {
    let half = channels / 2;
    let angle = |j: usize| time * 1e-4f64.powf(j as f64 / half as f64);
    let cosines = (0..half).map(|j| angle(j).cos());
    cosines.chain((0..half).map(|j| angle(j).sin())).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// X of A X = B, by Gauss; A is symmetric and positive, and small.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let count = a.len();
    for i in 0..count {
        let best = (i..count).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs()));
        let best = best.unwrap_or(i);
        a.swap(i, best);
        b.swap(i, best);
        let (pivot_a, pivot_b) = (a[i].clone(), b[i].clone());
        for row in (0..count).filter(|row| *row != i) {
            let factor = a[row][i] / pivot_a[i];
            let subtract = |row: &mut [f64], pivot: &[f64]| {
                for (value, pivot) in row.iter_mut().zip(pivot) {
                    *value -= factor * pivot;
                }
            };
            subtract(&mut a[row], &pivot_a);
            subtract(&mut b[row], &pivot_b);
        }
    }
    for (row, a) in b
        .iter_mut()
        .zip(&a)
        .enumerate()
        .map(|(i, (row, a))| (row, a[i]))
    {
        for value in row {
            *value /= a;
        }
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Stream};

    #[test]
    fn a_layer_says_of_other_times_what_it_said() {
        let (channels, rows) = (32, 5);
        let weight = Stream::new(1, Domain::Test, 0).normals(channels * rows);
        let pairs = [
            (804.0, 801.274),
            (602.0, 603.549),
            (400.0, 405.8),
            (198.0, 208.1),
        ];
        let other = retimed(&weight, channels, &pairs);
        let answer = |weight: &[f32], time: f64| -> Vec<f64> {
            let waves = waves(time, channels);
            let rows = weight.chunks(channels);
            rows.map(|row| row.iter().zip(&waves).map(|(w, x)| f64::from(*w) * x).sum())
                .collect()
        };
        for (told, meant) in pairs {
            let (got, want) = (answer(&other, told), answer(&weight, meant));
            for (got, want) in got.iter().zip(&want) {
                // Roundings of f32 in 32 products.
                assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
            assert!((answer(&weight, told)[0] - want[0]).abs() > 1e-2);
        }
        let same = retimed(&weight, channels, &[(5.0, 5.0)]);
        assert_eq!(same, weight);
    }
}
