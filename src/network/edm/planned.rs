//! What both families of U-Nets say about their sizes.

use super::plan::Plan;
use crate::Error;
use crate::network::family::Sizes;
use crate::network::step::StepUse;
use crate::parameter::Key;

/// Sizes that a plan describes.
pub(crate) trait Planned {
    fn plan(&self) -> Plan<'_>;
    /// [`Error::InvalidValue`] naming a field that does not fit.
    fn fits(&self) -> Result<(), Error>;
    /// Every entry of the state dict.
    fn listed(&self) -> Vec<Key>;
    /// Step branch and dropout.
    fn switches(&mut self) -> (&mut bool, &mut f64);
}

impl<T: Planned> Sizes for T {
    fn check(&self) -> Result<(), Error> {
        self.fits()
    }

    fn image_shape(&self) -> [usize; 3] {
        let plan = self.plan();
        [plan.channels, plan.resolution, plan.resolution]
    }

    fn takes(&self, shape: [usize; 3]) -> bool {
        self.image_shape() == shape
    }

    fn classes(&self) -> usize {
        self.plan().classes
    }

    fn augment_labels(&self) -> usize {
        self.plan().augment_labels
    }

    fn context_width(&self) -> Option<usize> {
        None
    }

    fn step_branch(&self) -> bool {
        self.plan().step_branch
    }

    fn step_use(&self) -> StepUse {
        match self.plan().affine_width() {
            1 => StepUse::Added,
            _ => StepUse::ScaledAndShifted,
        }
    }

    fn multiply_adds(&self) -> u64 {
        self.plan().multiply_adds()
    }

    fn keys(&self) -> Vec<Key> {
        self.listed()
    }

    fn filter(&self) -> Vec<f32> {
        self.plan().filter().kernel()
    }

    /// All are the filter.
    fn constant(&self, _: &Key) -> Vec<f32> {
        self.filter()
    }

    fn set_step_branch(&mut self, step_branch: bool) {
        *self.switches().0 = step_branch;
    }

    fn set_dropout(&mut self, dropout: f64) {
        *self.switches().1 = dropout;
    }
}
