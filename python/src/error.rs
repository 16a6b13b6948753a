//! From the library's errors to Python's, with the same one line.

use fewstep::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use std::io::ErrorKind;

/// What was asked for is wrong: `ValueError`; a file is not there, or cannot be read: `OSError`; the work failed: `RuntimeError`.
pub fn raised(error: Error) -> PyErr {
    let said = error.to_string();
    match &error {
        Error::File { source, .. } if source.kind() == ErrorKind::NotFound => {
            PyFileNotFoundError::new_err(said)
        }
        Error::File { .. } => PyOSError::new_err(said),
        Error::NotFinite { .. } | Error::Diverged { .. } | Error::BrokenTeacher { .. } => {
            PyRuntimeError::new_err(said)
        }
        _ => PyValueError::new_err(said),
    }
}
