//! From a student of several step counts to a plain network of one.

use super::card::Card;
use super::sampling::Sampling;
use super::whole::Model;
use crate::Error;
use crate::network::fold_step_branch;

impl Model {
    /// The same student for one number of network calls only, as a plain network with official names: the step
    /// condition is folded into its weights. `parent` is the SHA-256 of this model's file. [SFD Sec. 3.3]
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the student was not distilled for this number, [`Error::Incompatible`] if it is
    /// not told the number of steps.
    pub fn fold(&self, evaluations: usize, parent: String) -> Result<Self, Error> {
        if self.network.is_adapted() {
            return Err(Error::Incompatible {
                first: format!("folding for {evaluations} evaluations"),
                second: "a student of adapters, which folds into no adapters".into(),
                remedy: "multiply them out first (Model::merged, or convert --merge)".into(),
            });
        }
        let sampling = self.card.sampling_with(evaluations)?;
        let Some(timestamps) = sampling.told_steps() else {
            return Err(Error::Incompatible {
                first: format!("folding for {evaluations} evaluations"),
                second: "a model that is not told the number of steps".into(),
                remedy: "it is a plain network already; use it as it is".into(),
            });
        };
        let (config, network) = fold_step_branch(&self.card.network, &self.network, timestamps)?;
        Ok(Self {
            card: Card {
                network: config,
                sampling: Sampling {
                    step_condition: false,
                    step_range: None,
                    ..sampling
                },
                parent: Some(parent),
                version: env!("CARGO_PKG_VERSION").into(),
                ..self.card.clone()
            },
            network,
            compute: self.compute,
        })
    }
}
