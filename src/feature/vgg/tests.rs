//! Against a computation written separately, in f64 and with plain loops.

use super::*;
use crate::noise::{Domain, Stream};
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// Shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Random weights under torchvision's and the LPIPS authors' names.
fn tensors() -> &'static Tensors {
    static TENSORS: OnceLock<Tensors> = OnceLock::new();
    TENSORS.get_or_init(|| {
        let mut all = BTreeMap::new();
        let mut put = |name: String, shape: Vec<usize>, scale: f64, positive: bool| {
            let index = all.len() as u64;
            let len = shape.iter().product();
            let normals = Stream::new(11, Domain::Test, index).normals(len);
            let value = |v: f32| if positive { v.abs() } else { v } * scale as f32;
            all.insert(name, (shape, normals.into_iter().map(value).collect()));
        };
        let widths = [
            64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512,
        ];
        let layers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
        let mut input = 3usize;
        for (width, layer) in widths.into_iter().zip(layers) {
            let scale = (2.0 / (9 * input) as f64).sqrt();
            let shape = vec![width, input, 3, 3];
            put(format!("features.{layer}.weight"), shape, scale, false);
            put(format!("features.{layer}.bias"), vec![width], 0.1, false);
            input = width;
        }
        for (i, width) in [64, 128, 256, 512, 512].into_iter().enumerate() {
            put(
                format!("lin{i}.model.1.weight"),
                vec![1, width, 1, 1],
                1.0,
                true,
            );
        }
        all
    })
}

fn data() -> BTreeMap<String, TensorData> {
    let all = tensors().iter();
    all.map(|(name, (shape, values))| {
        (name.clone(), TensorData::new(values.clone(), shape.clone()))
    })
    .collect()
}

fn perceptual(range: InputRange) -> Perceptual {
    let config = PerceptualConfig {
        range,
        size: 16,
        sha256: None,
    };
    Perceptual::from_tensors(data(), &config, Path::new("x"), &Device::flex()).unwrap()
}

/// An image as `[channel][row][column]`.
type Planes = Vec<Vec<Vec<f64>>>;

fn enlarged(image: &Planes, size: usize) -> Planes {
    let at = |plane: &Vec<Vec<f64>>, y: usize, x: usize| {
        let place = |target: usize, from: usize| {
            let source = ((target as f64 + 0.5) * from as f64 / size as f64 - 0.5).max(0.0);
            let low = source as usize;
            (low, (low + 1).min(from - 1), source - low as f64)
        };
        let (top, bottom, down) = place(y, plane.len());
        let (left, right, along) = place(x, plane[0].len());
        let row = |y: usize| plane[y][left] * (1.0 - along) + plane[y][right] * along;
        row(top) * (1.0 - down) + row(bottom) * down
    };
    let rows = |plane: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        (0..size)
            .map(|y| (0..size).map(|x| at(plane, y, x)).collect())
            .collect()
    };
    image.iter().map(rows).collect()
}

fn convolved(image: &Planes, layer: usize) -> Planes {
    let (shape, weight) = &tensors()[&format!("features.{layer}.weight")];
    let bias = &tensors()[&format!("features.{layer}.bias")].1;
    let (h, w) = (image[0].len(), image[0][0].len());
    let mut result = vec![vec![vec![0.0; w]; h]; shape[0]];
    for (o, plane) in result.iter_mut().enumerate() {
        for (y, row) in plane.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let mut sum = f64::from(bias[o]);
                for (i, from) in image.iter().enumerate() {
                    for dy in 0..3 {
                        for dx in 0..3 {
                            let (sy, sx) = (y + dy, x + dx);
                            if (1..=h).contains(&sy) && (1..=w).contains(&sx) {
                                let at = ((o * shape[1] + i) * 3 + dy) * 3 + dx;
                                sum += f64::from(weight[at]) * from[sy - 1][sx - 1];
                            }
                        }
                    }
                }
                *value = sum.max(0.0);
            }
        }
    }
    result
}

fn halved(image: &Planes) -> Planes {
    let halve = |plane: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        let rows = plane.chunks(2).map(|rows| {
            let pixel =
                |x: usize| (rows[0][x] + rows[0][x + 1] + rows[1][x] + rows[1][x + 1]) / 4.0;
            (0..rows[0].len()).step_by(2).map(pixel).collect()
        });
        rows.collect()
    };
    image.iter().map(halve).collect()
}

/// Each block's activations, the channels of each pixel at length 1.
fn features(image: &Planes, range: InputRange) -> Vec<Planes> {
    let mut x = enlarged(image, 16);
    let means = [0.485, 0.456, 0.406];
    let deviations = [0.229, 0.224, 0.225];
    for (c, plane) in x.iter_mut().enumerate() {
        for value in plane.iter_mut().flatten() {
            if range == InputRange::Corrected {
                *value = (*value + 1.0) / 2.0;
            }
            *value = (*value - means[c]) / deviations[c];
        }
    }
    let mut found = Vec::new();
    let blocks: [&[usize]; 5] = [
        &[0, 2],
        &[5, 7],
        &[10, 12, 14],
        &[17, 19, 21],
        &[24, 26, 28],
    ];
    for (i, block) in blocks.into_iter().enumerate() {
        if i > 0 {
            x = halved(&x);
        }
        for &layer in block {
            x = convolved(&x, layer);
        }
        let mut unit = x.clone();
        for y in 0..x[0].len() {
            for z in 0..x[0][0].len() {
                let length = x.iter().map(|p| p[y][z] * p[y][z]).sum::<f64>().sqrt();
                for plane in &mut unit {
                    plane[y][z] /= length + 1e-10;
                }
            }
        }
        found.push(unit);
    }
    found
}

fn reference(a: &Planes, b: &Planes, range: InputRange) -> f64 {
    let pairs = features(a, range).into_iter().zip(features(b, range));
    let blocks = pairs.enumerate().map(|(i, (a, b))| {
        let head = &tensors()[&format!("lin{i}.model.1.weight")].1;
        let pixels = (a[0].len() * a[0][0].len()) as f64;
        let mut sum = 0.0;
        for ((a, b), weight) in a.iter().zip(&b).zip(head) {
            let values = a.iter().flatten().zip(b.iter().flatten());
            sum += f64::from(*weight) * values.map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        }
        sum / pixels
    });
    blocks.sum()
}

/// Smooth-ish random images, `channels` x 8 x 6 each.
fn planes(seed: u64, channels: usize) -> Planes {
    let values = Stream::new(seed, Domain::Test, 99).normals(channels * 48);
    let rows = values.chunks(6).map(|row| {
        let row = row.iter().map(|v| f64::from(v.clamp(-2.0, 2.0) / 2.0));
        row.collect::<Vec<f64>>()
    });
    let rows: Vec<_> = rows.collect();
    rows.chunks(8).map(<[_]>::to_vec).collect()
}

fn images(planes: &[&Planes]) -> Images {
    let (c, h, w) = (planes[0].len(), planes[0][0].len(), planes[0][0][0].len());
    let values = planes.iter().flat_map(|p| p.iter().flatten().flatten());
    let values: Vec<f32> = values.map(|v| *v as f32).collect();
    let data = TensorData::new(values, [planes.len(), c, h, w]);
    Images::from_data(data, &Device::flex())
}

#[test]
fn distances_and_gradients_are_those_of_the_definition() {
    for range in [InputRange::Official, InputRange::Corrected] {
        let network = perceptual(range);
        let (a, b, other) = (planes(1, 3), planes(2, 3), planes(3, 3));
        let student = images(&[&a, &b]).autodiff().require_grad();
        let distance = network.distance(student.clone(), images(&[&b, &other]).autodiff());
        let got: Vec<f32> = distance.clone().into_data().try_to_vec().unwrap();
        let want = [reference(&a, &b, range), reference(&b, &other, range)];
        for (got, want) in got.iter().zip(want) {
            // Thirteen convolutions in f32, each a sum of up to 4608 products.
            assert!((f64::from(*got) / want - 1.0).abs() < 2e-5, "{got} {want}");
        }
        let gradient = student.grad(&distance.sum().backward()).unwrap();
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
        // The slope along one direction, by differences in f64.
        let along = planes(4, 3);
        let moved = |by: f64| -> Planes {
            let pixel = |(a, d): (&f64, &f64)| a + by * d;
            let row = |(a, d): (&Vec<f64>, &Vec<f64>)| a.iter().zip(d).map(pixel).collect();
            let plane =
                |(a, d): (&Vec<Vec<f64>>, &Vec<Vec<f64>>)| a.iter().zip(d).map(row).collect();
            a.iter().zip(&along).map(plane).collect()
        };
        let by = 1e-6;
        let slope = reference(&moved(by), &b, range) - reference(&moved(-by), &b, range);
        let slope = slope / (2.0 * by);
        let product = along.iter().flatten().flatten().zip(&gradient);
        let product: f64 = product.map(|(d, g)| d * f64::from(*g)).sum();
        assert!((product / slope - 1.0).abs() < 1e-3, "{product} {slope}");
    }
}

#[test]
fn grey_images_are_rgb_with_equal_channels() {
    let network = perceptual(InputRange::Official);
    let (a, b) = (planes(5, 1), planes(6, 1));
    let grey = network.distance(images(&[&a]), images(&[&b]));
    let three = |p: &Planes| -> Planes { vec![p[0].clone(), p[0].clone(), p[0].clone()] };
    let rgb = network.distance(images(&[&three(&a)]), images(&[&three(&b)]));
    let (grey, rgb) = (grey.into_scalar::<f32>(), rgb.into_scalar::<f32>());
    assert!(grey > 0.0 && grey == rgb, "{grey} {rgb}");
    let same = network.distance(images(&[&a]), images(&[&a]));
    assert_eq!(same.into_scalar::<f32>(), 0.0);
    let black: Planes = vec![vec![vec![0.485; 8]; 8]; 3];
    let student = images(&[&black]).autodiff().require_grad();
    let distance = network.distance(student.clone(), images(&[&black]).autodiff());
    let gradient = student
        .grad(&distance.sum().backward())
        .unwrap()
        .into_data();
    assert!(gradient.iter::<f32>().all(f32::is_finite));
}

#[test]
fn files_are_understood_or_every_difference_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, tensors: BTreeMap<String, TensorData>| {
        let path = folder.path().join(name);
        let file = crate::model::File {
            tensors,
            ..Default::default()
        };
        file.write(&path).unwrap();
        path
    };
    let config = PerceptualConfig {
        size: 16,
        ..PerceptualConfig::default()
    };
    let device = Device::flex();
    let split = |of: BTreeMap<String, TensorData>| {
        let parts = of
            .into_iter()
            .partition(|(name, _)| name.starts_with("lin"));
        let (heads, network): (BTreeMap<_, _>, BTreeMap<_, _>) = parts;
        (network, heads)
    };
    let (mut network, heads) = split(data());
    let extra = TensorData::new(vec![0f32], [1]);
    network.insert("classifier.0.bias".into(), extra.clone());
    let paths = [
        write("vgg.safetensors", network.clone()),
        write("lin.safetensors", heads.clone()),
    ];
    let read = Perceptual::read(&paths, &config, &device).unwrap();
    let hash = read.config().sha256.clone().unwrap();
    assert_eq!(read.config(), perceptual(InputRange::Official).config());

    // The same weights in one file under the other names.
    let renamed = network.into_iter().filter_map(|(name, data)| {
        let rest = name.strip_prefix("features.")?;
        let layer: usize = rest.split('.').next()?.parse().ok()?;
        let slice = [4, 9, 16, 23, 30].iter().position(|end| layer < *end)? + 1;
        Some((format!("net.slice{slice}.{rest}"), data))
    });
    let mut all: BTreeMap<_, _> = renamed.chain(heads).collect();
    let one = write("one.safetensors", all.clone());
    let read = Perceptual::read(&[one], &config, &device).unwrap();
    assert_eq!(read.config().sha256.as_ref(), Some(&hash));

    let wanted = PerceptualConfig {
        sha256: Some("0".repeat(64)),
        ..config.clone()
    };
    let message = Perceptual::from_tensors(all.clone(), &wanted, Path::new("x"), &device);
    let message = message.unwrap_err().to_string();
    assert!(
        message.contains("perceptual.sha256") && message.contains(&hash),
        "{message}"
    );

    all.remove("lin3.model.1.weight");
    all.insert("features.0.bias".into(), extra.clone());
    all.insert("odd".into(), extra);
    all.remove("net.slice1.0.bias");
    let message = Perceptual::from_tensors(all, &config, Path::new("x"), &device);
    let message = message.unwrap_err().to_string();
    for word in [
        "lin3.model.1.weight",
        "features.0.bias: file [1], network [64]",
        "odd",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let odd = PerceptualConfig {
        size: 100,
        ..config
    };
    assert!(
        odd.check()
            .unwrap_err()
            .to_string()
            .contains("perceptual.size")
    );
}

#[test]
fn recipes_name_their_weights() {
    let network = perceptual(InputRange::Official);
    let any = PerceptualConfig {
        size: 16,
        ..PerceptualConfig::default()
    };
    network.check(&any, 1).unwrap();
    network.check(network.config(), 3).unwrap();
    let other = PerceptualConfig {
        range: InputRange::Corrected,
        ..any.clone()
    };
    assert!(
        network
            .check(&other, 3)
            .unwrap_err()
            .to_string()
            .contains("Corrected")
    );
    let other = PerceptualConfig {
        sha256: Some("1".repeat(64)),
        ..any.clone()
    };
    assert!(
        network
            .check(&other, 3)
            .unwrap_err()
            .to_string()
            .contains("1111")
    );
    assert!(
        network
            .check(&any, 4)
            .unwrap_err()
            .to_string()
            .contains("latents")
    );
}
