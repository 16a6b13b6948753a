//! Gradients of a network's parameters against stored ones.

use crate::golden::case::Case;
use crate::golden::measure::{KeyBias, Problem, norm, normalised, relative, worse};
use crate::network::{Gathered, Network, NetworkConfig, gradients};
use burn::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};

/// The gradient of each parameter by official name, `None` where it has none.
pub(crate) struct Gradients {
    named: BTreeMap<String, Option<Vec<f64>>>,
    heads: KeyBias,
}

impl Gradients {
    pub(crate) fn read(network: &Network, tape: &burn::tensor::Gradients) -> Self {
        Self::from_gathered(&gradients(network, tape))
    }

    pub(crate) fn from_gathered(gathered: &[Gathered]) -> Self {
        let values = |g: &Gathered| {
            let data = g.tensor.as_ref()?.clone().into_data_dtype(DType::F32);
            Some(data.iter::<f64>().collect::<Vec<f64>>())
        };
        let named = gathered.iter().map(|g| (g.name.clone(), values(g)));
        Self {
            named: named.collect(),
            heads: KeyBias::default(),
        }
    }

    /// With the attention heads of this network.
    pub(crate) fn of_heads(self, network: &NetworkConfig) -> Self {
        Self {
            heads: KeyBias::of(network),
            ..self
        }
    }

    /// The gradient of a parameter, empty if it has none.
    pub(crate) fn of(&self, name: &str) -> &[f64] {
        self.named
            .get(name)
            .and_then(|g| g.as_deref())
            .unwrap_or(&[])
    }

    /// The norm of a gradient without key biases; `None` if there is none.
    pub(crate) fn norm(&self, name: &str) -> Option<f64> {
        let values = self.named.get(name)?.clone()?;
        Some(norm(&self.heads.leave_out(name, values)))
    }

    /// Names of the parameters that have a gradient.
    fn present(&self) -> BTreeSet<&str> {
        let present = self.named.iter().filter(|(_, g)| g.is_some());
        present.map(|(name, _)| name.as_str()).collect()
    }
}

/// Compares with `grad/`, and with `gradhead/` and `gradnorm/` where only those are stored. A gradient that should not
/// be there, or is missing, is an infinite error.
pub(crate) fn error(case: &Case, got: &Gradients, none: &[&str]) -> Result<f64, Problem> {
    let mut worst = 0.0;
    let mut stored = BTreeSet::new();
    for (name, want) in case.tensors("grad/") {
        stored.insert(name);
        let want = got.heads.leave_out(name, want.iter::<f64>().collect());
        let got = got.heads.leave_out(name, got.of(name).to_vec());
        worst = worse(worst, normalised(&got, &want));
    }
    for (name, want) in case.tensors("gradhead/") {
        stored.insert(name);
        let want: Vec<f64> = want.iter::<f64>().collect();
        let head = got.of(name).get(..want.len()).unwrap_or_default();
        let (head, want) = (head.to_vec(), want);
        let leave_out = |values| got.heads.leave_out(name, values);
        let (head, want) = (leave_out(head), leave_out(want));
        worst = worse(worst, normalised(&head, &want));
        let want = case.values(&format!("gradnorm/{name}"))?;
        let whole = got.norm(name).unwrap_or(f64::NAN);
        worst = worse(worst, relative(&[whole], &want));
    }
    let present = got.present();
    let none: BTreeSet<&str> = none.iter().copied().collect();
    let complete = stored.is_subset(&present) && none.is_disjoint(&present);
    Ok(if complete { worst } else { f64::INFINITY })
}
