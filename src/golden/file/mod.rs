//! Files of others.

mod checkpoint;
pub(super) mod compvis;
pub(super) mod layout;
pub(super) mod pickle;

use super::case::Case;
use super::measure::{Problem, Report};
use super::model::is_latent_unet;
use burn::tensor::Device;

/// A row for each thing that a case says about a checkpoint.
pub(super) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    match is_latent_unet(&case.config()["net"]) {
        true => compvis::run(case, device, report),
        false => pickle::run(case, report),
    }
}
