//! Denoisers in a graph: a network between what preconditioning does before and after it.

use super::precondition::{FLOW_TIME, Preconditioned, Preconditioning};
use crate::graph::schema::DataType;
use crate::graph::{Graph, Value};
use crate::grid::LogAlphaTable;
use crate::network::{TracedInputs, TracedText};

/// A noise level in a graph.
#[derive(Clone, Debug)]
pub(crate) enum Level {
    /// One that is always the same.
    Fixed(f64),
    /// That of each image, `[batch]`.
    Given(Value),
}

/// What the model is told besides image and noise level; the counterpart of [`Condition`](super::Condition).
#[derive(Clone, Debug, Default)]
pub(crate) struct TracedCondition {
    /// One-hot class labels `[batch, classes]`.
    pub(crate) labels: Option<Value>,
    /// A text.
    pub(crate) text: Option<TracedText>,
    /// The number of timestamps, f64 `[batch]` or `[1]`.
    pub(crate) steps: Option<Value>,
}

/// The four coefficients: f32, of which three go with images, and the noise condition in f64.
struct Traced {
    /// `None` is 1.
    skip: Option<Value>,
    out: Value,
    input: Value,
    noise: Value,
}

impl Preconditioned {
    /// D(x; sigma) in a graph, `[batch, channels, height, width]` as `noisy`. All that is computed of a level is in f64, as on
    /// the host.
    pub(crate) fn trace(
        &self,
        graph: &mut Graph,
        noisy: &Value,
        level: &Level,
        told: &TracedCondition,
    ) -> Value {
        let c = match level {
            Level::Fixed(sigma) => {
                let c = self.preconditioning.coefficients(*sigma);
                let number = |graph: &mut Graph, value: f64| graph.floats(&[], &[value as f32]);
                Traced {
                    skip: (c.skip != 1.0).then(|| number(graph, c.skip)),
                    out: number(graph, c.out),
                    input: number(graph, c.input),
                    noise: graph.doubles(&[1], &[c.noise]),
                }
            }
            Level::Given(sigma) => {
                let sigma = graph.cast(sigma, DataType::Double);
                let mut c = self.preconditioning.trace(graph, &sigma);
                let skip = c.skip.as_mut();
                for number in skip.into_iter().chain([&mut c.out, &mut c.input]) {
                    let column = graph.unsqueeze(number, &[1, 2, 3]);
                    *number = graph.cast(&column, DataType::Float);
                }
                c
            }
        };
        let inputs = TracedInputs {
            noise: c.noise,
            labels: told.labels.clone(),
            text: told.text.clone(),
            steps: told.steps.clone(),
        };
        let given = graph.mul(noisy, &c.input);
        let raw = self.network.trace(graph, &given, &inputs);
        let answer = graph.mul(&raw, &c.out);
        match &c.skip {
            None => graph.add(noisy, &answer),
            Some(skip) => {
                let kept = graph.mul(noisy, skip);
                graph.add(&kept, &answer)
            }
        }
    }
}

impl Preconditioning {
    /// [`coefficients`](Self::coefficients) in a graph, of levels `[batch]` in f64.
    fn trace(&self, graph: &mut Graph, sigma: &Value) -> Traced {
        let one = graph.doubles(&[], &[1.0]);
        if let Self::Flow = self {
            let more = graph.add(sigma, &one);
            let time = graph.node("Div", &[sigma, &more], &[]);
            let rest = graph.node("Sub", &[&one, &time], &[]);
            let scale = graph.doubles(&[], &[FLOW_TIME]);
            return Traced {
                skip: Some(rest.clone()),
                out: graph.node("Neg", &[&time], &[]),
                input: rest,
                noise: graph.mul(&time, &scale),
            };
        }
        let data = match self {
            Self::Edm(data) => *data,
            _ => 1.0,
        };
        let square = graph.doubles(&[], &[data * data]);
        let total = graph.mul(sigma, sigma);
        let total = graph.add(&total, &square);
        let root = graph.node("Sqrt", &[&total], &[]);
        let input = graph.node("Div", &[&one, &root], &[]);
        let ratio = graph.node("Div", &[sigma, &root], &[]);
        match self {
            Self::Edm(_) => {
                let [data, fourth] = [data, 0.25].map(|n| graph.doubles(&[], &[n]));
                let log = graph.node("Log", &[sigma], &[]);
                Traced {
                    skip: Some(graph.node("Div", &[&square, &total], &[])),
                    out: graph.mul(&ratio, &data),
                    input,
                    noise: graph.mul(&log, &fourth),
                }
            }
            Self::Discrete(table) => Traced {
                skip: None,
                out: graph.node("Neg", &[sigma], &[]),
                input,
                noise: trace_position(table, graph, &total),
            },
            Self::Velocity(table) => Traced {
                skip: Some(graph.node("Div", &[&one, &total], &[])),
                out: graph.node("Neg", &[&ratio], &[]),
                input,
                noise: trace_position(table, graph, &total),
            },
            Self::Flow => unreachable!("has returned"),
        }
    }
}

/// [`LogAlphaTable::position_of_sigma`] in a graph, of sigma^2 + 1: how far into each segment of the table a level lies, from 0
/// to 1, summed up; beyond the ends the first and the last segment go on.
fn trace_position(table: &LogAlphaTable, graph: &mut Graph, total: &Value) -> Value {
    let starts = table.log_alphas();
    let last = starts.len() - 2;
    let widths: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let open = |end: usize, else_: f64, infinite: f64| -> Vec<f64> {
        let bound = |i| if i == end { infinite } else { else_ };
        (0..=last).map(bound).collect()
    };
    let mut row = |values: &[f64]| graph.doubles(&[values.len()], values);
    let (starts, widths) = (row(&starts[..=last]), row(&widths));
    let (least, most) = (row(&open(0, 0.0, -1e9)), row(&open(last, 1.0, 1e9)));
    let log = graph.node("Log", &[total], &[]);
    let half = graph.doubles(&[], &[-0.5]);
    let log = graph.mul(&log, &half);
    let log = graph.unsqueeze(&log, &[1]);
    let into = graph.node("Sub", &[&log, &starts], &[]);
    let into = graph.node("Div", &[&into, &widths], &[]);
    let into = graph.node("Max", &[&into, &least], &[]);
    let into = graph.node("Min", &[&into, &most], &[]);
    graph.sum_of_rows(&into)
}
