//! Which solver, as recipes and cards say it.

use super::{
    Deis, DeisTime, Dpm2, DpmSolverPp, Euler, Heun, Ipndm, IpndmV, Prediction, Solver, UniPc,
    UniPcVariant,
};
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
    /// [`IpndmV`]; 1 evaluation a step.
    IpndmV {
        /// 1 to 4.
        #[serde(default = "four")]
        order: usize,
        /// The official code's coefficients instead of the exact ones.
        #[serde(default)]
        official: bool,
    },
    /// [`Deis`]; 1 evaluation a step.
    Deis {
        /// 1 to 4.
        #[serde(default = "four")]
        order: usize,
        /// What the slope is extrapolated in.
        #[serde(default)]
        time: DeisTime,
        /// The official code's sum instead of the integral.
        #[serde(default)]
        official: bool,
    },
    /// [`UniPc`]; 1 evaluation a step.
    #[serde(rename = "unipc", alias = "uni-pc")]
    UniPc {
        /// 1 to 3.
        #[serde(default = "three")]
        order: usize,
        /// The function B(h).
        #[serde(default)]
        variant: UniPcVariant,
        /// What is extrapolated.
        #[serde(default)]
        prediction: Prediction,
        /// Lower order in the last steps.
        #[serde(default = "yes")]
        lower_order_final: bool,
        /// Dynamic thresholding of every denoised estimate.
        #[serde(default)]
        thresholding: bool,
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
    /// with noise prediction, a correction of anything but order 3, or an official form where there is none.
    pub fn build(&self) -> Result<Box<dyn Solver>, Error> {
        Ok(match *self {
            Self::Euler {} => Box::new(Euler),
            Self::Heun {} => Box::new(Heun),
            Self::Dpm2 {} => Box::new(Dpm2),
            Self::Ipndm { order } => Box::new(Ipndm::new(order)?),
            Self::IpndmV { order, official } => Box::new(IpndmV::new(order)?.official(official)),
            Self::Deis {
                order,
                time,
                official,
            } => Box::new(Deis::new(order, time)?.official(official)?),
            Self::UniPc {
                order,
                variant,
                prediction,
                lower_order_final,
                thresholding,
            } => Box::new(
                UniPc::new(order, prediction, variant)?
                    .lower_order_final(lower_order_final)
                    .thresholding(thresholding)?,
            ),
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
        let (name, notes) = match *self {
            Self::Euler {} => ("Euler".to_string(), vec![]),
            Self::Heun {} => ("Heun".to_string(), vec![]),
            Self::Dpm2 {} => ("DPM-Solver-2".to_string(), vec![]),
            Self::Ipndm { order } => (format!("iPNDM({order}"), vec![]),
            Self::IpndmV { order, official } => (
                format!("iPNDM-v({order}"),
                vec![(official, "official coefficients")],
            ),
            Self::Deis {
                order,
                time,
                official,
            } => (
                format!("DEIS({order}"),
                vec![
                    (time == DeisTime::Tab, "tab"),
                    (time == DeisTime::Rhoab, "rhoab"),
                    (official, "official sum"),
                ],
            ),
            Self::UniPc {
                order,
                variant,
                prediction,
                lower_order_final,
                thresholding,
            } => (
                format!("UniPC({order}"),
                vec![
                    (variant == UniPcVariant::Bh1, "bh1"),
                    (prediction == Prediction::Noise, "noise prediction"),
                    (!lower_order_final, "full order to the end"),
                    (thresholding, "thresholding"),
                ],
            ),
            Self::DpmSolverPp {
                order,
                prediction,
                lower_order_final,
                thresholding,
                corrected,
            } => (
                format!("DPM-Solver++({order}M"),
                vec![
                    (prediction == Prediction::Noise, "noise prediction"),
                    (!lower_order_final, "full order to the end"),
                    (thresholding, "thresholding"),
                    (corrected, "corrected"),
                ],
            ),
        };
        write!(f, "{name}")?;
        for (_, note) in notes.iter().filter(|(said, _)| *said) {
            write!(f, ", {note}")?;
        }
        if name.contains('(') {
            write!(f, ")")?;
        }
        Ok(())
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
            ("kind = 'ipndm-v'", "iPNDM-v(4)"),
            (
                "kind = 'ipndm-v'\norder = 3\nofficial = true",
                "iPNDM-v(3, official coefficients)",
            ),
            ("kind = 'deis'", "DEIS(4, tab)"),
            ("kind = 'deis'\ntime = 'rhoab'", "DEIS(4, rhoab)"),
            ("kind = 'unipc'", "UniPC(3)"),
            (
                "kind = 'uni-pc'\nvariant = 'bh1'\nthresholding = true",
                "UniPC(3, bh1, thresholding)",
            ),
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
            ("kind = 'unipc'\nvariant = 'bh3'", "bh3"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for (text, word) in [
            ("kind = 'dpm-solver-pp'\norder = 4", "1 to 3"),
            ("kind = 'ipndm'\norder = 0", "1 to 4"),
            ("kind = 'ipndm-v'\norder = 5", "1 to 4"),
            ("kind = 'deis'\norder = 5", "1 to 4"),
            ("kind = 'deis'\ntime = 'rhoab'\nofficial = true", "tab"),
            ("kind = 'unipc'\norder = 4", "1 to 3"),
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
