//! Convolutions of [`Maps`].

use super::map::{Inner, Maps};
use super::strip::{Strip, run};
use super::wide::WIDE;
use crate::memory::buffer::{Out, filled, with_scratch};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData, activation, module};
use rayon::prelude::*;
use std::ops::Range;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Output channels, at least 1.
    pub output: usize,
    /// Input channels, at least 1.
    pub input: usize,
    /// Taps down and across, at least 1 each.
    pub taps: [usize; 2],
    /// Pixels from one output to the next, at least 1.
    pub stride: usize,
    /// Zeros above and below, and to the left and right.
    pub padding: [usize; 2],
    /// Of so many output channels, a multiple of 16 or all, what is negative becomes zero.
    pub rectified: usize,
}

impl Kernel {
    /// Height and width of the output.
    fn size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let side = |size: usize, axis: usize| {
            let room = size + 2 * self.padding[axis];
            assert!(room >= self.taps[axis], "an image smaller than the kernel");
            (room - self.taps[axis]) / self.stride + 1
        };
        [side(height, 0), side(width, 1)]
    }

    /// Whether it looks at one pixel for each, and at all of them.
    fn is_pointwise(&self) -> bool {
        (self.taps, self.stride, self.padding) == ([1, 1], 1, [0, 0])
    }
}

/// A convolution with its weights, which stay as they are.
#[derive(Clone, Debug)]
pub struct Convolution {
    kernel: Kernel,
    weights: Weights,
}

#[derive(Clone, Debug)]
enum Weights {
    /// `[block of 16 output channels][tap][input channel][output channel]`, and whole blocks of biases.
    Packed(Vec<f32>, Vec<f32>),
    /// For devices that our kernels are not for.
    Tensors(Box<(Tensor<4>, Tensor<1>)>),
}

impl Convolution {
    /// `weight` is `[output, input, taps down, taps across]`, `bias` `[output]`.
    ///
    /// # Panics
    /// If the lengths are not those of the kernel, or the kernel's are out of range.
    pub fn new(kernel: Kernel, weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Self {
        let Kernel {
            output,
            input,
            taps,
            ..
        } = kernel;
        let size = taps[0] * taps[1];
        assert!(output * input * size * kernel.stride > 0, "an empty kernel");
        assert_eq!(weight.len(), output * input * size, "weights of the kernel");
        assert_eq!(bias.len(), output, "one bias for each output channel");
        let whole = kernel.rectified.is_multiple_of(WIDE) && kernel.rectified < output;
        assert!(whole || kernel.rectified == output, "rectified blocks");
        let weights = match *device == Device::flex() {
            true => {
                let blocks = output.div_ceil(WIDE);
                let mut packed = vec![0.0; blocks * WIDE * input * size];
                for (i, row) in weight.chunks_exact(input * size).enumerate() {
                    let block = &mut packed[i / WIDE * WIDE * input * size..];
                    for (j, value) in row.iter().enumerate() {
                        let (channel, tap) = (j / size, j % size);
                        block[(tap * input + channel) * WIDE + i % WIDE] = *value;
                    }
                }
                let mut bias = bias;
                bias.resize(blocks * WIDE, 0.0);
                Weights::Packed(packed, bias)
            }
            false => Weights::Tensors(Box::new((
                Tensor::from_data(
                    TensorData::new(weight, [output, input, taps[0], taps[1]]),
                    device,
                ),
                Tensor::from_data(TensorData::new(bias, [output]), device),
            ))),
        };
        Self { kernel, weights }
    }

    /// Convolves some channels of `maps`, as many as the kernel's inputs.
    ///
    /// # Panics
    /// If the channels are others, the device is not that of the weights, or the image is smaller than the kernel.
    pub fn forward(&self, maps: &Maps, channels: Range<usize>) -> Maps {
        let [batch, height, width, all] = maps.dims();
        assert_eq!(channels.len(), self.kernel.input, "the kernel's channels");
        assert!(channels.end <= all, "channels that are there");
        let [down, across] = self.kernel.size([height, width]);
        let dims = [batch, down, across, self.kernel.output];
        match (&maps.inner, &self.weights) {
            (Inner::Here(x), Weights::Packed(weights, bias)) => {
                let task = Whole {
                    kernel: self.kernel,
                    x,
                    from: [batch, height, width, all],
                    channels,
                    to: dims,
                    weights,
                    bias,
                };
                Maps::here(task.run(), dims)
            }
            (Inner::There(x), Weights::Tensors(tensors)) => {
                let (weight, bias) = tensors.as_ref();
                let x = x.as_ref().clone().narrow(1, channels.start, channels.len());
                Maps::there(self.burn(x, weight.clone(), bias.clone()))
            }
            _ => panic!("maps and weights on different devices"),
        }
    }

    fn burn(&self, x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
        let k = &self.kernel;
        let options = ConvOptions::new([k.stride; 2], k.padding, [1, 1], 1);
        let y = module::conv2d(x, weight, Some(bias), options);
        let rectify = |y: Tensor<4>| activation::relu(y);
        match k.rectified {
            0 => y,
            n if n == k.output => rectify(y),
            n => {
                let rest = y.clone().narrow(1, n, k.output - n);
                Tensor::cat(vec![rectify(y.narrow(1, 0, n)), rest], 1)
            }
        }
    }
}

/// Bytes of inputs that a task works on, to stay in the second-level cache.
const INPUTS: usize = 192 << 10;
/// Tasks for each thread, where there is enough work.
const TASKS: usize = 4;

/// One convolution of a batch on the CPU.
struct Whole<'a> {
    kernel: Kernel,
    x: &'a [f32],
    from: [usize; 4],
    channels: Range<usize>,
    to: [usize; 4],
    weights: &'a [f32],
    bias: &'a [f32],
}

impl Whole<'_> {
    fn run(&self) -> Vec<f32> {
        let [batch, height, width, all] = self.from;
        let len = self.to.iter().product();
        if self.kernel.is_pointwise() {
            // Nothing keeps images or rows apart.
            let pixels = batch * height * width;
            let size = self.share(pixels, all * size_of::<f32>());
            // SAFETY: the tasks cover all pixels.
            return unsafe {
                filled(len, |y| {
                    (0..pixels.div_ceil(size)).into_par_iter().for_each(|n| {
                        let range = n * size..pixels.min((n + 1) * size);
                        self.points(range, y);
                    });
                })
            };
        }
        let [_, down, ..] = self.to;
        let bytes = self.kernel.stride * width * self.channels.len() * size_of::<f32>();
        let size = self.share(batch * down, bytes).min(down);
        let strips = down.div_ceil(size);
        // SAFETY: the tasks cover all rows of all images.
        unsafe {
            filled(len, |y| {
                (0..batch * strips).into_par_iter().for_each(|n| {
                    let (image, strip) = (n / strips, n % strips);
                    let rows = strip * down / strips..(strip + 1) * down / strips;
                    self.rows(image, rows, y);
                });
            })
        }
    }

    /// How many of `count` pieces a task takes, whose inputs are so many bytes each.
    fn share(&self, count: usize, bytes: usize) -> usize {
        let tasks = TASKS * rayon::current_num_threads();
        (INPUTS / bytes.max(1)).min(count.div_ceil(tasks)).max(1)
    }

    fn strip(&self) -> Strip<'_> {
        let Kernel { taps, stride, .. } = self.kernel;
        let (width, channels) = (self.from[2], self.channels.len());
        Strip {
            x: self.x.as_ptr(),
            tap_row: width * channels,
            row: stride * width * channels,
            pixel: stride * channels,
            taps: taps[0],
            run: taps[1] * channels,
            rows: 1,
            width: self.to[2],
            weights: self.weights,
            bias: self.bias,
            channels: self.kernel.output,
            rectified: self.kernel.rectified,
            y: std::ptr::null_mut(),
        }
    }

    /// Some pixels of all images, for kernels of one tap.
    fn points(&self, range: Range<usize>, y: Out) {
        let all = self.from[3];
        // SAFETY: the pixels are there in `x`, and this task's own in `y`.
        unsafe {
            let strip = Strip {
                x: self.x[range.start * all + self.channels.start..].as_ptr(),
                pixel: all,
                width: range.len(),
                y: y.at(range.start * self.kernel.output),
                ..self.strip()
            };
            run(&strip);
        }
    }

    /// Some rows of outputs of an image.
    fn rows(&self, image: usize, rows: Range<usize>, y: Out) {
        let Kernel {
            taps,
            stride,
            padding,
            output,
            ..
        } = self.kernel;
        let [_, height, width, all] = self.from;
        let [_, down, across, _] = self.to;
        // SAFETY: rows of this task only.
        let y = unsafe { y.at((image * down + rows.start) * across * output) };
        let first = rows.start * stride;
        if padding == [0, 0] && self.channels.len() == all {
            let x = self.x[(image * height + first) * width * all..].as_ptr();
            let rows = rows.len();
            let strip = Strip {
                x,
                rows,
                y,
                ..self.strip()
            };
            // SAFETY: an output's taps lie in the image.
            return unsafe { run(&strip) };
        }
        let channels = self.channels.len();
        let line = (width + 2 * padding[1]) * channels;
        let lines = (rows.len() - 1) * stride + taps[0];
        with_scratch(lines * line, |copy| {
            for (i, to) in copy.chunks_exact_mut(line).enumerate() {
                match (first + i).checked_sub(padding[0]) {
                    Some(row) if row < height => {
                        let from = &self.x[(image * height + row) * width * all..][..width * all];
                        self.copy(from, to);
                    }
                    _ => to.fill(0.0),
                }
            }
            let strip = Strip {
                x: copy.as_ptr(),
                tap_row: line,
                row: stride * line,
                rows: rows.len(),
                y,
                ..self.strip()
            };
            // SAFETY: an output's taps lie in the copy.
            unsafe { run(&strip) };
        });
    }

    /// The kernel's channels of a row of pixels, with zeros on both sides.
    fn copy(&self, from: &[f32], to: &mut [f32]) {
        let (channels, all) = (self.channels.len(), self.from[3]);
        let margin = self.kernel.padding[1] * channels;
        let end = to.len() - margin;
        to[..margin].fill(0.0);
        to[end..].fill(0.0);
        let to = &mut to[margin..end];
        if channels == all {
            return to.copy_from_slice(from);
        }
        let pixels = from.chunks_exact(all).zip(to.chunks_exact_mut(channels));
        pixels.for_each(|(from, to)| to.copy_from_slice(&from[self.channels.clone()]));
    }
}
