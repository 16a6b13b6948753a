//! The compiled half of the Python package `fewstep`. `fewstep/__init__.py` is the other, which knows numpy and is what people
//! call; between them go bytes, shapes and JSON.

mod error;
mod model;
mod work;

#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::model::Model;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
