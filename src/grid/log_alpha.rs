//! The noise schedule of discrete-time models (latent diffusion, Stable Diffusion), made continuous.

use crate::Error;
use serde::{Deserialize, Serialize};

/// log alpha(t) at t = k / n, k = 1..n, linear between the points and extrapolated linearly outside.
///
/// The model saw n discrete noise levels; alpha is how much of the image is left at each, and
/// sigma = sqrt(1 / alpha^2 - 1) once the images are rescaled to variance exploding form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Betas", into = "Betas")]
pub struct LogAlphaTable {
    betas: Betas,
    log_alphas: Vec<f64>,
}

/// What a recipe or a card says of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Betas {
    beta_start: f64,
    beta_end: f64,
    #[serde(default = "thousand")]
    levels: usize,
}

fn thousand() -> usize {
    1000
}

impl LogAlphaTable {
    /// The schedule whose betas are linear in their square roots, from `beta_start` to `beta_end`, over `levels`
    /// noise levels (1000 in all published models).
    ///
    /// # Errors
    /// [`Error::InvalidValue`] unless 0 < `beta_start` <= `beta_end` < 1 and `levels` is at least 2.
    pub fn scaled_linear(beta_start: f64, beta_end: f64, levels: usize) -> Result<Self, Error> {
        if !(beta_start > 0.0 && beta_start < 1.0) {
            return Err(Error::invalid("beta-start", beta_start, "between 0 and 1"));
        }
        if !(beta_end >= beta_start && beta_end < 1.0) {
            return Err(Error::invalid(
                "beta-end",
                beta_end,
                format!("at least {beta_start} and below 1"),
            ));
        }
        if levels < 2 {
            return Err(Error::invalid("levels", levels, "at least 2"));
        }
        let (low, high) = (beta_start.sqrt(), beta_end.sqrt());
        let mut log_alpha = 0.0;
        let log_alphas = (0..levels)
            .map(|k| {
                let root = low + (high - low) * k as f64 / (levels - 1) as f64;
                log_alpha += 0.5 * (-root * root).ln_1p();
                log_alpha
            })
            .collect();
        let betas = Betas {
            beta_start,
            beta_end,
            levels,
        };
        Ok(Self { betas, log_alphas })
    }

    /// The noise level at time `t`; the data were trained on t in (0, 1].
    pub fn sigma_of_t(&self, t: f64) -> f64 {
        let position = t * self.log_alphas.len() as f64 - 1.0;
        let (left, a, b) = self.segment(position.floor());
        let log_alpha = a + (b - a) * (position - left);
        // Extrapolated below the first level, log alpha can pass 0 by rounding.
        (-2.0 * log_alpha).exp_m1().max(0.0).sqrt()
    }

    /// The time of a noise level, the inverse of [`sigma_of_t`](Self::sigma_of_t).
    pub fn t_of_sigma(&self, sigma: f64) -> f64 {
        (self.position_of_sigma(sigma) + 1.0) / self.log_alphas.len() as f64
    }

    /// The position of a noise level among those that the model was trained on, counted from 0, between them where it lies
    /// between, and beyond the ends where it lies beyond.
    pub fn position_of_sigma(&self, sigma: f64) -> f64 {
        let log_alpha = -0.5 * (sigma * sigma).ln_1p();
        let above = self.log_alphas.partition_point(|&entry| entry >= log_alpha);
        let (left, a, b) = self.segment(above as f64 - 1.0);
        left + (log_alpha - a) / (b - a)
    }

    /// How much of the image's variance is left at each level, alpha^2, the least noise first.
    pub fn alphas_cumprod(&self) -> Vec<f64> {
        let squares = self
            .log_alphas
            .iter()
            .map(|log_alpha| (2.0 * log_alpha).exp());
        squares.collect()
    }

    /// The noise level at t = 1, the largest the model was trained on.
    pub fn sigma_max(&self) -> f64 {
        self.sigma_of_t(1.0)
    }

    /// The segment that starts at entry `left`, or the nearest one: its first index and its two values.
    fn segment(&self, left: f64) -> (f64, f64, f64) {
        let index = left.clamp(0.0, (self.log_alphas.len() - 2) as f64) as usize;
        (
            index as f64,
            self.log_alphas[index],
            self.log_alphas[index + 1],
        )
    }
}

impl TryFrom<Betas> for LogAlphaTable {
    type Error = Error;

    fn try_from(betas: Betas) -> Result<Self, Error> {
        Self::scaled_linear(betas.beta_start, betas.beta_end, betas.levels)
    }
}

impl From<LogAlphaTable> for Betas {
    fn from(table: LogAlphaTable) -> Self {
        table.betas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::conformance::Case;

    #[test]
    fn golden_tables() {
        let Some(case) = Case::open("schedule") else {
            return;
        };
        for table in case.config()["tables"].as_array().unwrap() {
            let name = table["name"].as_str().unwrap();
            let ours = LogAlphaTable::scaled_linear(
                table["beta_start"].as_f64().unwrap(),
                table["beta_end"].as_f64().unwrap(),
                table["num"].as_u64().unwrap() as usize,
            )
            .unwrap();
            let close = |got: f64, want: f64, what: &str| {
                assert!(
                    (got / want - 1.0).abs() < 1e-9,
                    "{name} {what}: {got} {want}"
                );
            };
            close(
                ours.sigma_max(),
                table["sigma_max"].as_f64().unwrap(),
                "sigma_max",
            );
            let read = |tensor: String| case.numbers(&tensor);
            for (got, want) in ours
                .log_alphas
                .iter()
                .zip(read(format!("in/{name}/log_alphas")))
            {
                close(*got, want, "log alpha");
            }
            let times = read(format!("in/{name}/t_query"));
            for (t, want) in times.iter().zip(read(format!("out/{name}/sigma_of_t"))) {
                close(ours.sigma_of_t(*t), want, "sigma of t");
            }
            let sigmas = read(format!("in/{name}/sigma_query"));
            for (sigma, want) in sigmas.iter().zip(read(format!("out/{name}/t_of_sigma"))) {
                close(ours.t_of_sigma(*sigma), want, "t of sigma");
            }
        }
    }

    #[test]
    fn bad_betas_are_refused() {
        for (start, end, levels) in [
            (0.0, 0.1, 10),
            (0.2, 0.1, 10),
            (0.1, 1.0, 10),
            (0.1, 0.2, 1),
        ] {
            assert!(LogAlphaTable::scaled_linear(start, end, levels).is_err());
        }
        let text = r#"{"beta-start": 0.00085, "beta-end": 0.012}"#;
        let table: LogAlphaTable = serde_json::from_str(text).unwrap();
        assert_eq!(table.log_alphas.len(), 1000);
        assert!(
            serde_json::from_str::<LogAlphaTable>(r#"{"beta-start": 2, "beta-end": 3}"#).is_err()
        );
    }
}
