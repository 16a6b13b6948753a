//! Loss and gradients of a batch, part by part.

use super::Group;
use super::sum::OrderedSum;
use crate::Error;
use crate::parameter::{Gathered, Keys, Named, device};
use burn::tensor::Device;

/// Numbers that processes give each other at a time: 16 MiB.
const CHUNK: usize = 4 << 20;

/// The loss of a batch and its gradients, added up in the order of its parts, whichever process computes them.
#[derive(Debug)]
pub(crate) struct Total<'a> {
    group: &'a dyn Group,
    loss: f64,
    /// Of one process.
    alone: Option<Vec<Gathered>>,
    /// Of several; empty before the first gradients.
    shared: Option<OrderedSum>,
    /// What the gradients are of, and where they belong: only where there are several.
    keys: Keys,
    device: Device,
    chunk: usize,
}

/// What a process says of its part.
enum Said {
    /// It had none in this turn.
    Nothing,
    /// The loss, and which parameters have a gradient; none where nothing is trained.
    Part(f64, Vec<bool>),
}

impl<'a> Total<'a> {
    /// Nothing yet, of this network's parameters.
    pub(crate) fn new<M: Named>(group: &'a dyn Group, network: &M) -> Self {
        let several = group.size() > 1;
        Self {
            group,
            loss: 0.0,
            alone: None,
            shared: None,
            keys: match several {
                true => network.keys().clone(),
                false => Keys::default(),
            },
            device: match several {
                true => device(network),
                false => Device::default(),
            },
            chunk: CHUNK,
        }
    }

    /// A [turn](super::turns). `part` computes what this process has in it, if it has something: it adds the gradients, if there
    /// are to be any and the loss is finite, to what it is given, and returns the loss. Whether the losses of all processes are
    /// finite; if not, the sums are of no use any more.
    pub(crate) fn turn(
        &mut self,
        part: Option<impl FnOnce(&mut Option<Vec<Gathered>>) -> Result<f64, Error>>,
    ) -> Result<bool, Error> {
        if self.group.size() == 1 {
            let loss = part.map_or(Ok(0.0), |part| part(&mut self.alone))?;
            self.loss += loss;
            return Ok(loss.is_finite());
        }
        let mut gradients = None;
        let said = match part {
            Some(part) => Said::Part(part(&mut gradients)?, mask(gradients.as_deref())),
            None => Said::Nothing,
        };
        let all = self.group.tell(&said.to_bytes())?;
        let (mut took_part, mut first) = (Vec::new(), None);
        for (i, said) in all.iter().enumerate() {
            let astray = || Error::group(i, all.len(), "does something else than the others");
            let said = Said::of(said).ok_or_else(astray)?;
            took_part.push(matches!(said, Said::Part(..)));
            let Said::Part(loss, mask) = said else {
                continue;
            };
            if !loss.is_finite() {
                return Ok(false);
            }
            self.loss += loss;
            let before = self.shared.as_ref().map(OrderedSum::mask);
            if *first.get_or_insert_with(|| before.map_or(mask.clone(), <[bool]>::to_vec)) != mask {
                return Err(astray());
            }
        }
        if let Some(mask) = first.filter(|mask| !mask.is_empty()) {
            let new = || OrderedSum::new(&self.keys, mask, self.chunk);
            let sum = self.shared.get_or_insert_with(new);
            sum.add(self.group, &took_part, gradients)?;
        }
        Ok(true)
    }

    /// The sum of all losses.
    pub(crate) fn loss(&self) -> f64 {
        self.loss
    }

    /// The sum of all gradients, if there are any.
    pub(crate) fn gradients(self) -> Result<Option<Vec<Gathered>>, Error> {
        let Some(shared) = self.shared else {
            return Ok(self.alone);
        };
        let whole = shared.whole(self.group, &self.keys, &self.device);
        Ok(Some(whole?))
    }
}

fn mask(gradients: Option<&[Gathered]>) -> Vec<bool> {
    let all = gradients.into_iter().flatten();
    all.map(|g| g.tensor.is_some()).collect()
}

impl Said {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Part(loss, mask) => {
                let mask = mask.iter().map(|there| u8::from(*there));
                loss.to_le_bytes().into_iter().chain(mask).collect()
            }
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Nothing);
        }
        let (loss, mask) = bytes.split_first_chunk()?;
        let mask = mask.iter().map(|there| *there != 0).collect();
        Some(Self::Part(f64::from_le_bytes(*loss), mask))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Alone, Threads, turns};
    use super::*;
    use crate::network::{Network, NetworkConfig, SongUNetConfig};
    use crate::noise::{Domain, Stream};
    use burn::tensor::Tensor;
    use std::thread::scope;

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

    /// Parameters that have no gradient.
    const WITHOUT: [usize; 2] = [0, 3];

    /// Adds the gradients of part `i`: of any size, so that the order of a sum is seen in its bits; and some are -0.
    fn add(network: &Network, i: usize, sum: &mut Option<Vec<Gathered>>) -> f64 {
        let device = Device::flex();
        let mut stream = Stream::new(7, Domain::Test, i as u64);
        let keys = network.keys().all().iter().enumerate();
        let found = keys.map(|(k, key)| {
            let numbers = stream.normals(key.shape.iter().product());
            let numbers = numbers.into_iter().enumerate();
            let numbers = numbers.map(|(n, v)| if n == 1 { -0.0 } else { v * v * v });
            let numbers: Vec<f32> = numbers.collect();
            let tensor = Tensor::from_floats(numbers.as_slice(), &device);
            Gathered {
                name: key.name.clone(),
                shape: key.shape.clone(),
                tensor: (!WITHOUT.contains(&k)).then_some(tensor),
            }
        });
        let found: Vec<_> = found.collect();
        *sum = Some(match sum.take() {
            None => found,
            Some(before) => {
                let pairs = before.into_iter().zip(found);
                let add = |(a, b): (Gathered, Gathered)| Gathered {
                    tensor: a.tensor.zip(b.tensor).map(|(a, b)| a + b),
                    ..a
                };
                pairs.map(add).collect()
            }
        });
        stream.normal_f64()
    }

    fn bits(gradients: Vec<Gathered>) -> Vec<Option<Vec<u32>>> {
        let bits = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().map(f32::to_bits).collect();
        gradients.into_iter().map(|g| g.tensor.map(bits)).collect()
    }

    type Whole = (u64, Vec<Option<Vec<u32>>>);

    /// What one process has in the end.
    fn total(group: &dyn Group, parts: usize, chunk: usize) -> Whole {
        let network = &network();
        let mut total = Total {
            chunk,
            ..Total::new(group, network)
        };
        for part in turns(group, (0..parts).collect()) {
            let part = part.map(|i| move |sum: &mut _| Ok(add(network, i, sum)));
            assert!(total.turn(part).unwrap());
        }
        let loss = total.loss().to_bits();
        (loss, bits(total.gradients().unwrap().unwrap()))
    }

    fn together<T: Send>(size: usize, run: impl Fn(&dyn Group) -> T + Sync) -> Vec<T> {
        let (members, run) = (Threads::new(size), &run);
        scope(|scope| {
            let threads = members.into_iter();
            let threads = threads.map(|member| scope.spawn(move || run(&member)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn a_sum_has_the_same_bits_whoever_adds() {
        for parts in [1, 2, 5, 8] {
            let alone = total(&Alone, parts, CHUNK);
            for (k, gradient) in alone.1.iter().enumerate() {
                assert_eq!(gradient.is_none(), WITHOUT.contains(&k));
            }
            for (size, chunk) in [(2, CHUNK), (2, 100), (3, 7), (4, 64), (6, 1)] {
                let all = together(size, |group| total(group, parts, chunk));
                assert!(
                    all.iter().all(|one| *one == alone),
                    "{parts} {size} {chunk}"
                );
            }
        }
    }

    #[test]
    fn the_order_of_a_sum_is_seen_in_its_bits() {
        let network = network();
        let sum = |parts: [usize; 3]| {
            let mut sum = None;
            for i in parts {
                add(&network, i, &mut sum);
            }
            bits(sum.unwrap())
        };
        assert_ne!(sum([0, 1, 2]), sum([2, 1, 0]));
    }

    #[test]
    fn a_loss_that_is_not_finite_is_known_to_all() {
        let found = together(3, |group| {
            let network = network();
            let mut total = Total::new(group, &network);
            let bad = group.rank() == 1;
            let part = |_: &mut _| Ok(if bad { f64::NAN } else { 1.0 });
            total.turn(Some(part)).unwrap()
        });
        assert_eq!(found, [false; 3]);
        let mut alone = Total::new(&Alone, &network());
        assert!(!alone.turn(Some(|_: &mut _| Ok(f64::INFINITY))).unwrap());
    }

    #[test]
    fn what_is_not_trained_has_no_gradients() {
        let found = together(2, |group| {
            let mut total = Total::new(group, &network());
            let part = (group.rank() == 0).then_some(|_: &mut _| Ok(2.5));
            assert!(total.turn(part).unwrap());
            (total.loss(), total.gradients().unwrap().is_none())
        });
        assert_eq!(found, [(2.5, true); 2]);
    }
}
