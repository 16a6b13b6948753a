//! Golden runs with exact denoisers, in f64; and the small reader of golden cases that unit tests share.

use super::{DeisTime, Prediction, SolverConfig, UniPcVariant};
use crate::Images;
use crate::denoiser::{Condition, Denoiser, Gaussian, Mixture};
use crate::grid::{LogAlphaTable, SigmaGrid, Spacing};
use crate::sampler::Sampler;
use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::Path;

/// A golden case: its description and its tensors.
pub(crate) struct Case {
    bytes: Vec<u8>,
    description: Value,
}

impl Case {
    /// Reads `../shared/golden/<name>.safetensors`, or says on stderr that the folder is missing. On a build server
    /// a missing folder is a failure.
    pub(crate) fn open(name: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
        if !folder.is_dir() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "the golden cases are missing: {}",
                folder.display()
            );
            eprintln!("skipped, no golden cases at {}", folder.display());
            return None;
        }
        let bytes = fs_err::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let text = &header.metadata().as_ref().unwrap()["case"];
        let description = serde_json::from_str(text).unwrap();
        Some(Self { bytes, description })
    }

    pub(crate) fn config(&self) -> &Value {
        &self.description["config"]
    }

    /// A tensor in its own float type.
    pub(crate) fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => panic!("{name} is {other:?}"),
        };
        let shape: [usize; D] = view.shape().try_into().unwrap();
        let data = TensorData::from_bytes_vec(view.data().to_vec(), shape, dtype);
        Tensor::from_data(data, (&Device::flex(), dtype))
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        let tensor = self.tensor::<1>(name);
        tensor.to_data().iter::<f64>().collect()
    }

    /// The spacing of a schedule entry.
    pub(crate) fn spacing(&self, entry: &Value) -> Spacing {
        let rho = entry["schedule_rho"].as_f64().unwrap();
        match entry["schedule_type"].as_str().unwrap() {
            "polynomial" => Spacing::Polynomial { rho },
            "logsnr" => Spacing::LogSnr {},
            "time_uniform" => Spacing::TimeUniform { rho },
            "discrete" => {
                let tables = self.config()["tables"].as_array().unwrap();
                let table = tables.iter().find(|t| t["name"] == entry["table"]).unwrap();
                let table = LogAlphaTable::scaled_linear(
                    table["beta_start"].as_f64().unwrap(),
                    table["beta_end"].as_f64().unwrap(),
                    table["num"].as_u64().unwrap() as usize,
                );
                Spacing::Discrete {
                    rho,
                    table: table.unwrap(),
                }
            }
            other => panic!("unknown schedule {other}"),
        }
    }
}

/// The solver of a golden run.
fn solver(run: &Value) -> SolverConfig {
    let order = || run["max_order"].as_u64().unwrap() as usize;
    let flag = |key: &str| run[key].as_bool().unwrap();
    let prediction = || match flag("predict_x0") {
        true => Prediction::Data,
        false => Prediction::Noise,
    };
    match run["solver"].as_str().unwrap() {
        "euler" => SolverConfig::Euler {},
        "heun" => SolverConfig::Heun {},
        "dpm" => SolverConfig::Dpm2 {},
        "ipndm" => SolverConfig::Ipndm { order: order() },
        "ipndm_v" => SolverConfig::IpndmV {
            order: order(),
            official: true,
        },
        "deis" => SolverConfig::Deis {
            order: order(),
            time: match run["deis_mode"].as_str().unwrap() {
                "tab" => DeisTime::Tab,
                "rhoab" => DeisTime::Rhoab,
                other => panic!("unknown time {other}"),
            },
            official: run["deis_mode"] == "tab",
        },
        "unipc" => SolverConfig::UniPc {
            order: order(),
            variant: match run["variant"].as_str().unwrap() {
                "bh1" => UniPcVariant::Bh1,
                "bh2" => UniPcVariant::Bh2,
                other => panic!("unknown variant {other}"),
            },
            prediction: prediction(),
            lower_order_final: flag("lower_order_final"),
            thresholding: flag("thresholding"),
        },
        "dpmpp" => SolverConfig::DpmSolverPp {
            order: order(),
            prediction: prediction(),
            lower_order_final: flag("lower_order_final"),
            thresholding: flag("thresholding"),
            corrected: false,
        },
        other => panic!("unknown solver {other}"),
    }
}

/// The error measure of the golden cases: max |got - want| / rms(want).
pub(crate) fn nmax(got: &Images, want: &Images) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let list = |images: &Images| -> Vec<f64> { images.to_data().iter::<f64>().collect() };
    let (got, want) = (list(got), list(want));
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    let errors = got.iter().zip(&want).map(|(g, w)| (g - w).abs() / rms);
    // Not f64::max, which would drop a NaN.
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

/// Runs every required run; returns their number and the largest error in units of the tolerance.
fn check(
    case: &Case,
    denoiser: &dyn Denoiser,
    dtype: DType,
    tolerance: Option<&dyn Fn(&SolverConfig) -> f64>,
) -> usize {
    let (mut count, mut worst) = (0, 0.0f64);
    for run in case.config()["runs"].as_array().unwrap() {
        // The others document quirks of the reference that we do not have.
        if run["required"] == false {
            continue;
        }
        let config = solver(run);
        let text = |key: &str| run[key].as_str().unwrap();
        let levels = case.numbers(text("t_steps"));
        let grid = SigmaGrid::new(levels).unwrap();
        // The grid that the run's settings describe is the one it used.
        let ours = case.spacing(run).grid(
            grid.steps(),
            run["sigma_min"].as_f64().unwrap(),
            run["sigma_max"].as_f64().unwrap(),
        );
        for (ours, used) in ours.unwrap().levels().iter().zip(grid.levels()) {
            assert!((ours / used - 1.0).abs() < 1e-9);
        }
        let solver = config.build().unwrap();
        let sampler = Sampler {
            denoiser,
            solver: solver.as_ref(),
            grid: &grid,
            analytic_first_step: run["afs"].as_bool().unwrap(),
            denoise_to_zero: run["denoise_to_zero"].as_bool().unwrap(),
        };
        let start = case.tensor::<4>("in/latents").mul_scalar(grid.sigma_max());
        let states = sampler
            .trajectory(start.cast(dtype), &Condition::default())
            .states;
        let want = case.tensor::<5>(text("traj"));
        assert_eq!(states.len(), want.dims()[0], "{}", text("id"));
        let tolerance = match tolerance {
            Some(tolerance) => tolerance(&config),
            None => run["tol"].as_f64().unwrap(),
        };
        for (i, state) in states.iter().enumerate() {
            assert_eq!(state.dtype(), dtype);
            let want: Images = want.clone().narrow(0, i, 1).squeeze_dim(0);
            let error = nmax(state, &want);
            worst = worst.max(error);
            assert!(error < tolerance, "{} state {i}: {error:.1e}", text("id"));
        }
        count += 1;
    }
    println!("{count} runs in {dtype:?}, worst nmax {worst:.1e}");
    count
}

fn gaussian(case: &Case, dtype: DType) -> Gaussian {
    let mean = case.tensor::<3>("in/mean").unsqueeze::<4>().cast(dtype);
    Gaussian::new(mean, case.config()["s"].as_f64().unwrap()).unwrap()
}

fn mixture(case: &Case, dtype: DType) -> Mixture {
    let means = case.tensor::<4>("in/means").cast(dtype);
    Mixture::new(&case.numbers("in/weights"), means, &case.numbers("in/stds")).unwrap()
}

#[test]
fn golden_runs_of_a_gaussian() {
    let Some(case) = Case::open("solver_analytic_gauss") else {
        return;
    };
    assert_eq!(
        check(&case, &gaussian(&case, DType::F64), DType::F64, None),
        172
    );
}

#[test]
fn golden_runs_of_a_mixture() {
    let Some(case) = Case::open("solver_analytic_gmm") else {
        return;
    };
    assert_eq!(
        check(&case, &mixture(&case, DType::F64), DType::F64, None),
        48
    );
}

#[test]
fn single_precision_follows() {
    let Some(case) = Case::open("solver_analytic_gauss") else {
        return;
    };
    // Measured 6e-6; one rounding of f32 is 6e-8, and the ODE magnifies it a hundredfold on the way from 80 to 0.006.
    // UniPC's corrector takes the difference of two noises, each (x - D) / sigma: measured 2.3e-5, and 2e-4 in the
    // reference with a network.
    let tolerance = |config: &SolverConfig| match config {
        SolverConfig::UniPc {
            prediction: Prediction::Noise,
            ..
        } => 5e-5,
        _ => 2e-5,
    };
    let tolerance: Option<&dyn Fn(&SolverConfig) -> f64> = Some(&tolerance);
    check(&case, &gaussian(&case, DType::F32), DType::F32, tolerance);
}
