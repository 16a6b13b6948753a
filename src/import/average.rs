//! Which weights are taken where a file or folder has two kinds of them.

use super::compvis;
use crate::container::Checkpoint;

/// What diffusers calls the weights that training ended with, where they lie beside the averaged ones.
const LAST: &str = ".non_ema.";

impl Checkpoint {
    /// Which weights are taken, of a file or folder that has averaged ones and those that training ended with; `None` where there
    /// are only the ones.
    pub fn taken(&self) -> Option<String> {
        if compvis::has_averaged(self) {
            let taken = match self.raw {
                false => "the averaged ones (model_ema), not those that training ended with",
                true => "those that training ended with, not the averaged ones (model_ema)",
            };
            return Some(taken.into());
        }
        let (folder, name) = (self.path().parent()?, self.path().file_name()?);
        let name = name.to_str()?;
        if name.contains(LAST) {
            return Some(format!("those that training ended with ({name})"));
        }
        let others = std::fs::read_dir(folder).ok()?.flatten();
        let mut others = others.filter_map(|entry| entry.file_name().into_string().ok());
        let start = name.split('.').next()?;
        let other = others.find(|other| other.starts_with(start) && other.contains(LAST))?;
        Some(format!(
            "the averaged ones, not those that training ended with ({other})"
        ))
    }
}
