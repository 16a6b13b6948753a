//! What jumps cost, and the cheapest way through them.

use crate::grid::JumpCost;
use crate::{Error, Images};
use rayon::prelude::*;

/// What it costs to jump from one point of a fine path to a later one, `[from][to]`, over some images.
#[derive(Clone, Debug, PartialEq)]
pub struct CostMatrix {
    points: usize,
    /// How many images the values are summed over.
    images: usize,
    /// Row-major; 0 where there is no jump.
    values: Vec<f64>,
}

impl CostMatrix {
    /// Of no images yet.
    pub(super) fn new(points: usize) -> Self {
        Self {
            points,
            images: 0,
            values: vec![0.0; points * points],
        }
    }

    /// Takes the mean costs as they are, `[points][points]` row-major.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there are not as many values as that, or one is not finite.
    pub fn from_values(points: usize, values: Vec<f64>) -> Result<Self, Error> {
        if points < 2 || values.len() != points.saturating_mul(points) {
            let expected = format!("{points} x {points}, with at least 2 points");
            return Err(Error::invalid("number of costs", values.len(), expected));
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            let expected = "finite: the model's answers are not";
            return Err(Error::invalid("cost of a jump", bad, expected));
        }
        Ok(Self {
            points,
            images: 1,
            values,
        })
    }

    /// Points of the path.
    pub fn points(&self) -> usize {
        self.points
    }

    /// The costs of all jumps from each point, by their ends.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.points)
    }

    /// The cost of a jump; 0 unless `to` is a point behind `from`.
    pub fn cost(&self, from: usize, to: usize) -> f64 {
        let mut rows = self.values.chunks_exact(self.points.max(1));
        let row = rows.nth(from).unwrap_or_default();
        row.get(to).copied().unwrap_or(0.0)
    }

    /// What the jumps between these points cost together; those that are none cost nothing.
    pub fn total(&self, indices: &[usize]) -> f64 {
        let pairs = indices.windows(2);
        pairs.map(|pair| self.cost(pair[0], pair[1])).sum()
    }

    /// Adds the costs of more images.
    pub(super) fn add(&mut self, other: &Self) {
        self.images += other.images;
        for (sum, value) in self.values.iter_mut().zip(&other.values) {
            *sum += value;
        }
    }

    /// The mean over the images.
    pub(crate) fn mean(self) -> Result<Self, Error> {
        let images = self.images.max(1) as f64;
        let values = self.values.iter().map(|v| v / images).collect();
        Self::from_values(self.points, values)
    }

    /// Whether there are so many jumps in the path.
    pub(super) fn check_steps(&self, steps: usize) -> Result<(), Error> {
        if (1..self.points).contains(&steps) {
            return Ok(());
        }
        let expected = format!("1 to {}, the number of candidates", self.points - 1);
        Err(Error::invalid("steps", steps, expected))
    }

    /// The points of the cheapest way from the first to the last in `steps` jumps, by dynamic programming: the cost of
    /// a jump counts `gamma` to the power of the jumps before it. Of equal ways, that with the earlier point. [GITS Alg. 1]
    ///
    /// # Errors
    /// [`Error::InvalidValue`] unless `steps` is from 1 to the number of points less one, and all costs are finite.
    pub fn cheapest(&self, steps: usize, gamma: f64) -> Result<Vec<usize>, Error> {
        self.check_steps(steps)?;
        let last = self.points - 1;
        // `rest[i]`: the cheapest way from i to the end with the jumps considered so far; `next[k][i]`: its first jump
        // if k + 2 remain.
        let mut rest: Vec<f64> = (0..last).map(|i| self.cost(i, last)).collect();
        let mut next: Vec<Vec<usize>> = Vec::with_capacity(steps - 1);
        for _ in 1..steps {
            let best = |from: usize| {
                let ways = (from + 1..last).map(|i| (i, self.cost(from, i) + gamma * rest[i]));
                let none = (last, f64::INFINITY);
                ways.fold(none, |best, way| if way.1 < best.1 { way } else { best })
            };
            let (jumps, costs) = (0..last).map(best).unzip();
            next.push(jumps);
            rest = costs;
        }
        let mut indices = vec![0];
        for jumps in next.iter().rev() {
            // With infinite costs no way is the best, and the end is reached too early.
            let at = indices[indices.len() - 1];
            let to = jumps.get(at).filter(|to| **to < last);
            let finite = "a number with which all costs stay finite";
            indices.push(*to.ok_or_else(|| Error::invalid("gamma", gamma, finite))?);
        }
        indices.push(last);
        Ok(indices)
    }
}

/// Fine paths of a batch: their points and the slopes there, on the host in f64.
pub(super) struct Path<'a> {
    levels: &'a [f64],
    images: usize,
    /// `[image, value]` at each level.
    points: Vec<Vec<f64>>,
    /// The same at each level but the last.
    slopes: Vec<Vec<f64>>,
}

fn values(images: &Images) -> Vec<f64> {
    images.to_data().iter::<f64>().collect()
}

impl<'a> Path<'a> {
    /// Paths that start here.
    pub(super) fn new(levels: &'a [f64], start: &Images) -> Self {
        Self {
            levels,
            images: start.dims()[0],
            points: vec![values(start)],
            slopes: Vec::new(),
        }
    }

    /// The slope at the last point, and the next point.
    pub(super) fn push(&mut self, slope: &Images, point: &Images) {
        self.slopes.push(values(slope));
        self.points.push(values(point));
    }

    /// The costs of all jumps, summed over the images in their order.
    pub(super) fn costs(&self, cost: JumpCost) -> CostMatrix {
        let each: Vec<Vec<f64>> = (0..self.images)
            .into_par_iter()
            .map(|image| self.costs_of(image, cost))
            .collect();
        let mut sum = CostMatrix::new(self.levels.len());
        for values in each {
            sum.add(&CostMatrix {
                points: self.levels.len(),
                images: 1,
                values,
            });
        }
        sum
    }

    /// The costs of one image.
    fn costs_of(&self, image: usize, cost: JumpCost) -> Vec<f64> {
        let size = self.points[0].len() / self.images.max(1);
        let cut = |all: &Vec<f64>| all[image * size..(image + 1) * size].to_vec();
        let mut points: Vec<_> = self.points.iter().map(cut).collect();
        let mut slopes: Vec<_> = self.slopes.iter().map(cut).collect();
        if cost == JumpCost::Deviation {
            project(&mut points, &mut slopes);
        }
        let count = points.len();
        let mut costs = vec![0.0; count * count];
        for from in 0..count - 1 {
            for to in from + 1..count {
                let length = self.levels[to] - self.levels[from];
                let start = points[from].iter().zip(&slopes[from]);
                let end = start.map(|(x, slope)| x + length * slope);
                costs[from * count + to] = match cost {
                    JumpCost::Deviation => norm(end) - norm(points[to].iter().copied()),
                    JumpCost::L1 => end.zip(&points[to]).map(|(a, b)| (a - b).abs()).sum(),
                    JumpCost::L2 => norm(end.zip(&points[to]).map(|(a, b)| a - b)),
                };
            }
        }
        costs
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Takes everything along the line from the first to the last point away, so that a point's distance from the line is
/// its length, and a jump's end follows from its start and slope as before.
fn project(points: &mut [Vec<f64>], slopes: &mut [Vec<f64>]) {
    let (Some(first), Some(last)) = (points.first().cloned(), points.last()) else {
        return;
    };
    let line: Vec<f64> = last.iter().zip(&first).map(|(b, a)| b - a).collect();
    let square: f64 = line.iter().map(|v| v * v).sum();
    let remove = |vector: &mut Vec<f64>| {
        let along = line.iter().zip(&*vector).map(|(a, b)| a * b).sum::<f64>() / square;
        for (value, part) in vector.iter_mut().zip(&line) {
            *value -= along * part;
        }
    };
    for point in points.iter_mut() {
        for (value, origin) in point.iter_mut().zip(&first) {
            *value -= origin;
        }
        remove(point);
    }
    slopes.iter_mut().for_each(remove);
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Tensor};
    use proptest::prelude::*;

    fn images(values: &[f64]) -> Images {
        let device = Device::flex();
        Tensor::<1>::from_data(values, (&device, DType::F64)).reshape([-1, 1, 1, 2])
    }

    /// Two images on their ways: one along an axis with a bend, one straight.
    fn path(levels: &[f64]) -> Path<'_> {
        let mut path = Path::new(levels, &images(&[4.0, 0.0, 3.0, 3.0]));
        path.push(
            &images(&[1.0, 0.0, 1.0, 1.0]),
            &images(&[2.0, 1.0, 1.0, 1.0]),
        );
        path.push(
            &images(&[1.0, 0.5, 1.0, 1.0]),
            &images(&[0.0, 0.0, 0.0, 0.0]),
        );
        path
    }

    #[test]
    fn costs_are_those_of_the_definition() {
        let levels = [3.0, 1.0, 0.0];
        let path = path(&levels);
        // Jumps of the first image end at (2, 0), (1, 0) and (1, 0.5), of the second where its points are.
        for (cost, want) in [
            (JumpCost::Deviation, [-1.0, 0.0, 0.5]),
            (JumpCost::L1, [1.0, 1.0, 1.5]),
            (JumpCost::L2, [1.0, 1.0, 1.25f64.sqrt()]),
        ] {
            let costs = path.costs(cost).mean().unwrap();
            let got = [costs.cost(0, 1), costs.cost(0, 2), costs.cost(1, 2)];
            for (got, want) in got.iter().zip(want) {
                assert!((got - want / 2.0).abs() < 1e-15, "{cost:?}: {got} {want}");
            }
            assert_eq!([costs.cost(1, 0), costs.cost(1, 1)], [0.0, 0.0]);
            assert_eq!(costs.total(&[0, 1, 2]), got[0] + got[2]);
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let values = |bad| vec![0.0, bad, 0.0, 0.0];
        assert!(CostMatrix::from_values(2, values(f64::NAN)).is_err());
        assert!(CostMatrix::from_values(2, vec![0.0; 3]).is_err());
        assert!(CostMatrix::from_values(1, vec![0.0]).is_err());
        assert_eq!(
            CostMatrix::from_values(2, values(1.0))
                .unwrap()
                .total(&[0, 1]),
            1.0
        );
    }

    /// All ways with so many jumps, and what they cost.
    fn every_way(costs: &CostMatrix, steps: usize, gamma: f64) -> Vec<(f64, Vec<usize>)> {
        fn walk(now: &[usize], last: usize, left: usize, found: &mut Vec<Vec<usize>>) {
            let at = now[now.len() - 1];
            let ends = if left == 1 {
                last..last + 1
            } else {
                at + 1..last
            };
            for end in ends {
                let way = [now, &[end]].concat();
                if left == 1 {
                    found.push(way);
                } else {
                    walk(&way, last, left - 1, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&[0], costs.points() - 1, steps, &mut found);
        let priced = found.into_iter().map(|way| {
            let jumps = way.windows(2).enumerate();
            let price = jumps.map(|(k, j)| gamma.powi(k as i32) * costs.cost(j[0], j[1]));
            (price.sum(), way)
        });
        priced.collect()
    }

    #[test]
    fn costs_without_end_are_refused() {
        let costs = CostMatrix::from_values(4, vec![1.0; 16]).unwrap();
        assert_eq!(costs.cheapest(3, 1.0).unwrap(), [0, 1, 2, 3]);
        let error = costs.cheapest(3, f64::INFINITY).unwrap_err();
        assert!(error.to_string().contains("gamma"), "{error}");
    }

    proptest! {
        #[test]
        fn no_way_is_cheaper(
            values in proptest::collection::vec(-1.0f64..5.0, 49),
            steps in 1usize..7,
            gamma in 0.7f64..1.4,
        ) {
            let costs = CostMatrix::from_values(7, values).unwrap();
            let chosen = costs.cheapest(steps, gamma).unwrap();
            prop_assert_eq!(chosen.len(), steps + 1);
            let ways = every_way(&costs, steps, gamma);
            let price = ways.iter().find(|(_, way)| *way == chosen).map(|(price, _)| *price);
            let price = price.unwrap();
            prop_assert!(ways.iter().all(|(other, _)| price <= other + 1e-9));
        }
    }
}
