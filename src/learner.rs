//! The one update step: distillation and the training of teachers sum up gradients in their own ways, and here is what they
//! do with them.

use crate::Error;
use crate::model::{Progress, State};
use crate::network::Network;
use crate::optimizer::{Adam, AdamConfig, Average, finite};
use crate::parameter::{Gathered, Named};

/// What learns besides the weights themselves: the optimizer, the set of what is trained, and the averaged weights where
/// there are such.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    optimizer: Adam,
    trained: Trained,
    average: Option<Average>,
}

/// Which parameters an update changes, in the network's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trained(Vec<bool>);

/// Gradients that may reach the weights: all of them finite, and only those of what is trained.
#[derive(Debug)]
pub(crate) struct Checked(Vec<Gathered>);

impl Trained {
    /// All of the network's own but those that training leaves as they were drawn.
    pub(crate) fn all(network: &Network) -> Self {
        let keys = network.keys().all().iter();
        let own = keys.zip(network.own());
        Self(own.map(|(key, own)| own && !key.fixed).collect())
    }
}

impl Learner {
    /// Starts with moments of zero, and the average at the network's parameters.
    pub(crate) fn new(
        config: AdamConfig,
        trained: Trained,
        network: &Network,
        averaged: bool,
    ) -> Self {
        Self {
            optimizer: Adam::new(config),
            trained,
            average: averaged.then(|| Average::new(network)),
        }
    }

    /// Other settings of the optimizer from now on; its moments stay.
    pub(crate) fn configure(&mut self, config: AdamConfig) {
        self.optimizer.configure(config);
    }

    /// The gradients of a batch; `None` if one is not finite: it must not reach the weights, nor the moments.
    pub(crate) fn check(&self, mut gradients: Vec<Gathered>) -> Option<Checked> {
        for (gradient, trained) in gradients.iter_mut().zip(&self.trained.0) {
            if !trained {
                gradient.tensor = None;
            }
        }
        finite(&gradients).then_some(Checked(gradients))
    }

    /// One step of Adam; returns the network with new parameters. Where nothing else holds the old ones, the new can have
    /// their memory.
    pub(crate) fn update(&mut self, network: Network, by: Checked, learning_rate: f64) -> Network {
        self.optimizer.step(network, by.0, learning_rate)
    }

    /// Moves the averaged weights towards the network's, if there are such and `decay` says how.
    pub(crate) fn follow(&mut self, network: &Network, decay: Option<f64>) {
        if let (Some(average), Some(decay)) = (&mut self.average, decay) {
            average.update(network, decay);
        }
    }

    /// The network with averaged weights where there are such, else as it is.
    pub(crate) fn averaged(&self, network: Network) -> Network {
        match &self.average {
            Some(average) => average.apply(network),
            None => network,
        }
    }

    /// All of it, with the network's weights.
    pub(crate) fn state(&self, progress: Progress, network: &Network) -> State {
        State::gather(progress, network, &self.optimizer, self.average.as_ref())
    }

    /// Puts back what [`state`](Self::state) gave; returns the network with its weights.
    ///
    /// # Errors
    /// [`Error::Weights`] or [`Error::Malformed`] if it is another network's, or not of such a run.
    pub(crate) fn restore(&mut self, state: &State, network: Network) -> Result<Network, Error> {
        state.restore(network, &mut self.optimizer, self.average.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetworkConfig, SongUNetConfig, gather};
    use burn::tensor::{Device, Tensor};

    fn network() -> Network {
        let config = NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 4,
            channels: 1,
            model_channels: 4,
            channel_multipliers: vec![1],
            blocks: 0,
            attention_resolutions: Vec::new(),
            augment_labels: 0,
            ..SongUNetConfig::default()
        });
        config.init(1, &Device::flex()).unwrap()
    }

    /// The same number everywhere.
    fn gradients(network: &Network, value: f32) -> Vec<Gathered> {
        let all = gather(network).into_iter();
        all.map(|g| Gathered {
            tensor: g.tensor.map(|t| t.zeros_like().add_scalar(value)),
            ..g
        })
        .collect()
    }

    fn numbers(network: &Network) -> Vec<Vec<f32>> {
        let all = gather(network).into_iter();
        let values = |t: Tensor<1>| t.into_data().iter::<f32>().collect();
        all.map(|g| g.tensor.map(values).unwrap_or_default())
            .collect()
    }

    #[test]
    fn what_is_not_trained_stays_and_leaves_no_moments() {
        let network = network();
        let before = numbers(&network);
        let mut trained = Trained::all(&network);
        let skipped = 3;
        trained.0[skipped] = false;
        let mut learner = Learner::new(AdamConfig::default(), trained, &network, true);
        let checked = learner.check(gradients(&network, 0.5)).unwrap();
        let network = learner.update(network, checked, 0.1);
        learner.follow(&network, Some(0.5));
        let (after, moments) = (numbers(&network), learner.optimizer.moments());
        let averaged = numbers(&learner.averaged(network));
        for (i, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!(before == after, i == skipped, "{i}");
            assert_eq!(moments[i].is_none(), i == skipped, "{i}");
            let middle = before.iter().zip(after).zip(&averaged[i]);
            assert!(
                middle
                    .into_iter()
                    .all(|((a, b), m)| ((a + b) / 2.0 - m).abs() < 1e-6)
            );
        }
    }

    #[test]
    fn a_broken_gradient_counts_only_where_it_is_trained() {
        let network = network();
        let mut broken = gradients(&network, 0.5);
        broken[3].tensor = broken[3].tensor.take().map(|t| t.mul_scalar(f32::NAN));
        let mut trained = Trained::all(&network);
        let learner = |trained| Learner::new(AdamConfig::default(), trained, &network, false);
        assert!(learner(trained.clone()).check(broken.clone()).is_none());
        trained.0[3] = false;
        assert!(learner(trained).check(broken).is_some());
    }
}
