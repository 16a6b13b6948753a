//! Which solver, as recipes and cards say it.

use super::{Dpm2, DpmSolverPp, Euler, Heun, Ipndm, Prediction, Solver};
use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A solver and its settings. In a recipe: `{ kind = "dpm-solver-pp", order = 3 }`.
///
/// The default is the published teacher, DPM-Solver++(3M).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum SolverConfig {
    /// [`Euler`]; 1 evaluation a step.
    Euler {},
    /// [`Heun`]; 2 evaluations a step.
    Heun {},
    /// [`Dpm2`]; 2 evaluations a step.
    #[serde(rename = "dpm-solver-2", alias = "dpm2")]
    Dpm2 {},
    /// [`Ipndm`]; 1 evaluation a step.
    Ipndm {
        /// 1 to 4.
        #[serde(default = "four")]
        order: usize,
    },
    /// [`DpmSolverPp`]; 1 evaluation a step.
    #[serde(alias = "dpm-solver++")]
    DpmSolverPp {
        /// 1 to 3.
        #[serde(default = "three")]
        order: usize,
        /// What is extrapolated.
        #[serde(default)]
        prediction: Prediction,
        /// Lower order in the last steps.
        #[serde(default = "yes")]
        lower_order_final: bool,
        /// Dynamic thresholding of every denoised estimate. Not what the published students were taught with.
        #[serde(default)]
        thresholding: bool,
        /// The true third order instead of the published one.
        #[serde(default)]
        corrected: bool,
    },
}

fn three() -> usize {
    3
}

fn four() -> usize {
    4
}

fn yes() -> bool {
    true
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self::DpmSolverPp {
            order: 3,
            prediction: Prediction::Data,
            lower_order_final: true,
            thresholding: false,
            corrected: false,
        }
    }
}

impl SolverConfig {
    /// Checks the settings and makes the solver.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an order that the method does not have, [`Error::Incompatible`] for thresholding
    /// with noise prediction, or a correction of anything but order 3.
    pub fn build(&self) -> Result<Box<dyn Solver>, Error> {
        Ok(match *self {
            Self::Euler {} => Box::new(Euler),
            Self::Heun {} => Box::new(Heun),
            Self::Dpm2 {} => Box::new(Dpm2),
            Self::Ipndm { order } => Box::new(Ipndm::new(order)?),
            Self::DpmSolverPp {
                order,
                prediction,
                lower_order_final,
                thresholding,
                corrected,
            } => Box::new(
                DpmSolverPp::new(order, prediction)?
                    .lower_order_final(lower_order_final)
                    .thresholding(thresholding)?
                    .corrected(corrected)?,
            ),
        })
    }
}

impl fmt::Display for SolverConfig {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Euler {} => write!(f, "Euler"),
            Self::Heun {} => write!(f, "Heun"),
            Self::Dpm2 {} => write!(f, "DPM-Solver-2"),
            Self::Ipndm { order } => write!(f, "iPNDM({order})"),
            Self::DpmSolverPp {
                order,
                prediction,
                lower_order_final,
                thresholding,
                corrected,
            } => {
                write!(f, "DPM-Solver++({order}M")?;
                for (said, what) in [
                    (prediction == Prediction::Noise, "noise prediction"),
                    (!lower_order_final, "full order to the end"),
                    (thresholding, "thresholding"),
                    (corrected, "corrected"),
                ] {
                    if said {
                        write!(f, ", {what}")?;
                    }
                }
                write!(f, ")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SolverConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn recipes_say_it_in_kebab_case() {
        for (text, name) in [
            ("kind = 'euler'", "Euler"),
            ("kind = 'heun'", "Heun"),
            ("kind = 'dpm-solver-2'", "DPM-Solver-2"),
            ("kind = 'ipndm'", "iPNDM(4)"),
            ("kind = 'dpm-solver-pp'", "DPM-Solver++(3M)"),
            ("kind = 'dpm-solver++'\norder = 2", "DPM-Solver++(2M)"),
            (
                "kind = 'dpm-solver-pp'\nprediction = 'noise'\nlower-order-final = false",
                "DPM-Solver++(3M, noise prediction, full order to the end)",
            ),
        ] {
            let config = read(text).unwrap();
            assert_eq!(config.to_string(), name);
            config.build().unwrap();
            let again = toml::to_string(&config).unwrap();
            assert_eq!(read(&again).unwrap(), config, "{again}");
        }
        assert_eq!(
            read("kind = 'dpm-solver-pp'").unwrap(),
            SolverConfig::default()
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("kind = 'rk4'", "rk4"),
            ("kind = 'euler'\norder = 1", "order"),
            ("kind = 'ipndm'\nordr = 1", "ordr"),
            ("kind = 'ipndm'\norder = -1", "-1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for (text, word) in [
            ("kind = 'dpm-solver-pp'\norder = 4", "1 to 3"),
            ("kind = 'ipndm'\norder = 0", "1 to 4"),
            (
                "kind = 'dpm-solver-pp'\nprediction = 'noise'\nthresholding = true",
                "thresholding",
            ),
            (
                "kind = 'dpm-solver-pp'\norder = 2\ncorrected = true",
                "order 3",
            ),
        ] {
            let error = read(text).unwrap().build().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
