//! The noise schedule of discrete-time models (latent diffusion, Stable Diffusion), made continuous.

use crate::Error;
use crate::setting::is_default;
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
    /// Whether the table is shifted and scaled so that next to nothing of the image is left at its last level.
    #[serde(default, skip_serializing_if = "is_default")]
    zero_terminal_snr: bool,
}

/// What is left of the image's variance at the last level of a rescaled table. Nothing would be an infinite noise level; this
/// is what diffusers' samplers take as well, and makes the last level 4096.
const LEAST_ALPHA_CUMPROD: f64 = 1.0 / 16_777_216.0;

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
            zero_terminal_snr: false,
        };
        Ok(Self { betas, log_alphas })
    }

    /// The table that models of `rescale_betas_zero_snr` were trained on: alpha shifted and scaled so that its first entry
    /// stays and its last is 0, for which the smallest stands that is not: alpha^2 = 2^-24, or half of the entry before if
    /// that is less. [Lin et al. 2023, Alg. 1]
    #[must_use]
    pub fn with_zero_terminal_snr(mut self) -> Self {
        if self.betas.zero_terminal_snr {
            return self;
        }
        self.betas.zero_terminal_snr = true;
        let alphas: Vec<f64> = self.log_alphas.iter().map(|log| log.exp()).collect();
        let (first, last) = (alphas[0], alphas[alphas.len() - 1]);
        let scale = first / (first - last);
        // Two levels at least, of which the first keeps its alpha.
        for (log, alpha) in self.log_alphas.iter_mut().zip(&alphas).skip(1) {
            *log = ((alpha - last) * scale).ln();
        }
        let end = self.log_alphas.len() - 1;
        let before = self.log_alphas[end - 1] + 0.5 * 0.5f64.ln();
        self.log_alphas[end] = before.min(0.5 * LEAST_ALPHA_CUMPROD.ln());
        self
    }

    /// Whether it is one of [`with_zero_terminal_snr`](Self::with_zero_terminal_snr).
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.betas.zero_terminal_snr
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

    /// log alpha of each level, the least noise first.
    pub(crate) fn log_alphas(&self) -> &[f64] {
        &self.log_alphas
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
        let table = Self::scaled_linear(betas.beta_start, betas.beta_end, betas.levels)?;
        Ok(match betas.zero_terminal_snr {
            true => table.with_zero_terminal_snr(),
            false => table,
        })
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

    /// By hand, from the formulas of the paper and the products of 1 - beta, with the last level as it is said above.
    #[test]
    fn a_rescaled_table_ends_in_noise() {
        let plain = LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap();
        let rescaled = plain.clone().with_zero_terminal_snr();
        let roots = |table: &LogAlphaTable| -> Vec<f64> {
            table.alphas_cumprod().iter().map(|a| a.sqrt()).collect()
        };
        let (before, after) = (roots(&plain), roots(&rescaled));
        let (first, last) = (before[0], before[999]);
        for k in 0..999 {
            let want = (before[k] - last) * first / (first - last);
            assert!((after[k] / want - 1.0).abs() < 1e-9, "{k}");
        }
        assert!((after[999] - 1.0 / 4096.0).abs() < 1e-12);
        assert!((rescaled.sigma_max() - 4096.0).abs() < 1.0);
        // Between the last two levels and at them.
        for sigma in [0.1, 3.0, 2000.0, 3000.0, 4096.0] {
            let t = rescaled.t_of_sigma(sigma);
            assert!(
                (rescaled.sigma_of_t(t) / sigma - 1.0).abs() < 1e-9,
                "{sigma} {t}"
            );
        }
        let text = serde_json::to_string(&rescaled).unwrap();
        assert!(text.contains("zero-terminal-snr"), "{text}");
        assert_eq!(
            serde_json::from_str::<LogAlphaTable>(&text).unwrap(),
            rescaled
        );
        assert!(!serde_json::to_string(&plain).unwrap().contains("zero"));
        // Of a table that ends near it anyhow, levels still decrease.
        let fine = LogAlphaTable::scaled_linear(0.00085, 0.012, 20_000).unwrap();
        let fine = fine.with_zero_terminal_snr().alphas_cumprod();
        assert!(
            fine.windows(2)
                .all(|pair| pair[0] > pair[1] && pair[1] > 0.0)
        );
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
