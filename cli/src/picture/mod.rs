//! Sheets, maps and folders of pictures.

pub mod lettering;
pub mod map;
pub mod sheet;
