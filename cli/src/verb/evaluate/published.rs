//! Figures of papers, to stand beside ours.

use fewstep::model::{Card, Kind, Sampling};
use serde::Deserialize;

/// The table.
const TABLE: &str = include_str!("published.toml");

/// What the models of a paper are trained on, by the statistics that they are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// As the table has it.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The published statistics.
    pub file: &'static str,
    /// What `fewstep fetch` calls them.
    pub fetch: &'static str,
    shape: [usize; 3],
    classes: usize,
}

/// Those of EDM.
pub const ALL: [Data; 4] = [
    Data {
        name: "cifar10",
        title: "CIFAR-10",
        file: "cifar10-32x32.npz",
        fetch: "fid-cifar10",
        shape: [3, 32, 32],
        classes: 0,
    },
    Data {
        name: "ffhq",
        title: "FFHQ, 64 x 64",
        file: "ffhq-64x64.npz",
        fetch: "fid-ffhq",
        shape: [3, 64, 64],
        classes: 0,
    },
    Data {
        name: "afhqv2",
        title: "AFHQv2, 64 x 64",
        file: "afhqv2-64x64.npz",
        fetch: "fid-afhqv2",
        shape: [3, 64, 64],
        classes: 0,
    },
    Data {
        name: "imagenet64",
        title: "ImageNet, 64 x 64",
        file: "imagenet-64x64.npz",
        fetch: "fid-imagenet64",
        shape: [3, 64, 64],
        classes: 1000,
    },
];

impl Data {
    /// Whether a model may be one of these data.
    pub fn fits(&self, card: &Card) -> bool {
        let network = &card.network;
        network.image_shape() == self.shape && network.classes() == self.classes
    }
}

/// A published figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The method's name.
    pub method: String,
    /// The Frechet distance.
    pub fid: f64,
    /// Where it was read.
    pub source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    table: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    of: String,
    method: String,
    data: String,
    nfe: Vec<usize>,
    fid: Vec<f64>,
    source: String,
}

/// The figure of the same kind of model, sampled alike, at as many network calls.
pub fn figure(data: &Data, card: &Card, sampling: &Sampling, nfe: usize) -> Option<Figure> {
    // What is compiled in is checked by a test.
    let table: Table = toml::from_str(TABLE).ok()?;
    let of = kind(card, sampling, nfe);
    let rows = table.table.into_iter();
    let mut rows = rows.filter(|row| row.data == data.name && same(&row.of, &of));
    rows.find_map(|row| {
        let at = row.nfe.iter().position(|calls| *calls == nfe)?;
        Some(Figure {
            fid: *row.fid.get(at)?,
            method: row.method,
            source: row.source,
        })
    })
}

/// What a model is, in the words of the table.
fn kind(card: &Card, sampling: &Sampling, nfe: usize) -> String {
    match card.kind {
        Kind::Student if sampling.step_condition || sampling.step_range.is_some() => "sfd-v".into(),
        Kind::Student if nfe == 1 => "second-stage".into(),
        Kind::Student => "sfd".into(),
        _ => sampling.solver.to_string(),
    }
}

/// A solver's name is in the table up to its order.
fn same(row: &str, of: &str) -> bool {
    let rest = of.strip_prefix(row);
    rest.is_some_and(|rest| rest.is_empty() || row.contains('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let table: Table = toml::from_str(TABLE).unwrap();
        for row in &table.table {
            assert_eq!(row.nfe.len(), row.fid.len(), "{}", row.method);
            assert!(ALL.iter().any(|data| data.name == row.data), "{}", row.data);
            assert!(row.fid.iter().all(|fid| *fid > 1.0) && !row.source.is_empty());
        }
        assert!(table.table.len() > 20);
    }

    #[test]
    fn solvers_are_told_apart_by_name_and_order() {
        assert!(same("iPNDM(4", "iPNDM(4)") && same("Heun", "Heun"));
        assert!(!same("iPNDM(4", "iPNDM-v(4)") && !same("iPNDM(4", "iPNDM(3)"));
        assert!(!same("DPM-Solver-2", "DPM-Solver-2x") && !same("sfd", "sfd-v"));
        assert!(same("DPM-Solver++(3", "DPM-Solver++(3M)"));
    }
}
