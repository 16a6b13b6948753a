//! Trajectories of which every process has solved a share.

use super::part::slice;
use crate::group::{Group, computes};
use crate::sampler::Trajectory;
use crate::{Error, transfer};
use burn::tensor::TensorData;
use std::ops::Range;

/// Puts a batch together: `parts` are its micro-batches, and `target` has the states of those that this process
/// [computes], and the start of all.
pub(super) fn whole(
    group: &dyn Group,
    parts: &[Range<usize>],
    mut target: Trajectory,
) -> Result<Trajectory, Error> {
    if group.size() == 1 {
        return Ok(target);
    }
    for state in target.states.iter_mut().skip(1) {
        let [batch, c, h, w] = state.dims();
        let mut mine = Vec::new();
        for samples in own(group, parts) {
            let numbers = transfer::read(slice(state, samples));
            mine.extend(numbers.iter::<f32>().flat_map(f32::to_le_bytes));
        }
        let all = group.tell(&mine)?;
        let mut ways: Vec<_> = all.iter().map(|bytes| bytes.as_chunks().0.iter()).collect();
        let mut numbers = Vec::with_capacity(batch * c * h * w);
        for (i, samples) in parts.iter().enumerate() {
            let way = &mut ways[i % group.size()];
            let part = way.take(samples.len() * c * h * w);
            numbers.extend(part.map(|bytes| f32::from_le_bytes(*bytes)));
        }
        if numbers.len() != batch * c * h * w {
            let reason = "has trajectories of another size than the others";
            return Err(Error::group(group.rank(), group.size(), reason));
        }
        let device = state.device();
        *state = transfer::send(TensorData::new(numbers, [batch, c, h, w]), &device);
    }
    Ok(target)
}

/// The parts that this process computes.
fn own<'a>(group: &dyn Group, parts: &'a [Range<usize>]) -> impl Iterator<Item = &'a Range<usize>> {
    let parts = parts.iter().enumerate();
    let own = parts.filter(move |(i, _)| computes(group, *i));
    own.map(|(_, samples)| samples)
}
