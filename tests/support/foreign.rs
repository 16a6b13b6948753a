//! Foreign files for tests, written by us: EDM-layout pickles of any size, and PyTorch's two formats.

#![allow(dead_code)] // Each test program uses its own part.

use fewstep::network::{Embedding, Encoder, Key, NetworkConfig, ResampleFilter, SongUNetConfig};
use std::collections::BTreeMap;
use std::io::{Result, Write};

/// Writes the instructions of a pickle without a memo.
pub struct Pickler<'w> {
    out: &'w mut dyn Write,
    /// 2, as torch writes its files, or 4.
    protocol: u8,
}

impl<'w> Pickler<'w> {
    pub fn new(out: &'w mut dyn Write, protocol: u8) -> Self {
        Self { out, protocol }
    }

    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)
    }

    pub fn start(&mut self) -> Result<()> {
        self.raw(&[0x80, self.protocol])
    }

    pub fn stop(&mut self) -> Result<()> {
        self.raw(b".")
    }

    pub fn text(&mut self, text: &str) -> Result<()> {
        self.raw(b"X")?;
        self.raw(&(text.len() as u32).to_le_bytes())?;
        self.raw(text.as_bytes())
    }

    pub fn int(&mut self, value: usize) -> Result<()> {
        self.raw(b"J")?;
        self.raw(&i32::try_from(value).unwrap().to_le_bytes())
    }

    pub fn float(&mut self, value: f64) -> Result<()> {
        self.raw(b"G")?;
        self.raw(&value.to_be_bytes())
    }

    pub fn global(&mut self, module: &str, name: &str) -> Result<()> {
        if self.protocol < 4 {
            return self.raw(format!("c{module}\n{name}\n").as_bytes());
        }
        self.text(module)?;
        self.text(name)?;
        self.raw(b"\x93")
    }

    pub fn ordered_dict(&mut self) -> Result<()> {
        self.global("collections", "OrderedDict")?;
        self.raw(b")R")
    }

    /// A list of counts between a mark and an end instruction.
    pub fn counts(&mut self, counts: &[usize], end: &[u8]) -> Result<()> {
        self.raw(b"(")?;
        for count in counts {
            self.int(*count)?;
        }
        self.raw(end)
    }

    /// JSON as a pickle.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<()> {
        use serde_json::Value;
        match value {
            Value::Null => self.raw(b"N"),
            Value::Bool(true) => self.raw(b"\x88"),
            Value::Bool(false) => self.raw(b"\x89"),
            Value::Number(n) if n.is_u64() => self.int(n.as_u64().unwrap() as usize),
            Value::Number(n) => self.float(n.as_f64().unwrap()),
            Value::String(text) => self.text(text),
            Value::Array(list) => {
                self.raw(b"](")?;
                list.iter().try_for_each(|v| self.json(v))?;
                self.raw(b"e")
            }
            Value::Object(map) => {
                self.raw(b"}(")?;
                for (key, value) in map {
                    self.text(key)?;
                    self.json(value)?;
                }
                self.raw(b"u")
            }
        }
    }

    /// `_rebuild_tensor_v2` of a storage that `storage` writes.
    pub fn tensor(
        &mut self,
        shape: &[usize],
        storage: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut strides = vec![1; shape.len()];
        for d in (1..shape.len()).rev() {
            strides[d - 1] = strides[d] * shape[d];
        }
        self.global("torch._utils", "_rebuild_tensor_v2")?;
        self.raw(b"(")?;
        storage(self)?;
        self.int(0)?;
        self.counts(shape, b"t")?;
        self.counts(&strides, b"t")?;
        self.raw(b"\x89")?;
        self.ordered_dict()?;
        self.raw(b"tR")
    }

    /// A parameter whose storage is a legacy torch stream in a byte string.
    pub fn parameter(&mut self, shape: &[usize], values: &[f32]) -> Result<()> {
        self.global("torch._utils", "_rebuild_parameter")?;
        self.raw(b"(")?;
        self.tensor(shape, &mut |p| {
            p.global("torch.storage", "_load_from_bytes")?;
            let stream = legacy_storage(values);
            p.raw(b"B")?;
            p.raw(&(stream.len() as u32).to_le_bytes())?;
            p.raw(&stream)?;
            p.raw(b"\x85R")
        })?;
        self.raw(b"\x88")?;
        self.ordered_dict()?;
        self.raw(b"tR")
    }
}

/// The first three pickles of a legacy torch stream.
pub const LEGACY_START: &[u8] =
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}(\
    X\x10\0\0\0protocol_versionM\xe9\x03X\x0d\0\0\0little_endian\x88u.";

/// `torch.save(storage)` before torch 1.6.
pub fn legacy_storage(values: &[f32]) -> Vec<u8> {
    let mut bytes = LEGACY_START.to_vec();
    bytes.extend(b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ");
    bytes.extend((values.len() as i32).to_le_bytes());
    bytes.extend(b"NtQ.\x80\x02]X\x01\0\0\x000a.");
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// The sizes of a network of a few thousand weights.
pub fn sizes() -> SongUNetConfig {
    SongUNetConfig {
        resolution: 8,
        channels: 3,
        classes: 5,
        model_channels: 8,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 9,
        dropout: 0.1,
        ..SongUNetConfig::default()
    }
}

pub fn small() -> NetworkConfig {
    NetworkConfig::SongUnet(sizes())
}

/// Weights that depend on the tensor's name only.
pub fn values(key: &Key) -> Vec<f32> {
    if key.buffer {
        return match key.shape.last() {
            Some(2) => vec![0.25; 4],
            _ => [1.0f32, 3.0, 3.0, 1.0]
                .iter()
                .flat_map(|a| [1.0f32, 3.0, 3.0, 1.0].map(|b| a * b / 64.0))
                .collect(),
        };
    }
    let mut state = key.name.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let fan_in: usize = key.shape[1..].iter().product::<usize>().max(1);
    let scale = if key.shape.len() > 1 {
        (1.0f32 / fan_in as f32).sqrt()
    } else {
        0.1
    };
    let offset = f32::from(u8::from(
        key.name.contains("norm") && key.name.ends_with("weight"),
    ));
    let number = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let uniform = (state >> 40) as f32 / (1u64 << 24) as f32;
        offset + scale * (2.0 * uniform - 1.0)
    };
    std::iter::repeat_with(number)
        .take(key.shape.iter().product())
        .collect()
}

/// Modules by name: tensors here, and modules below.
#[derive(Default)]
struct Module<'k> {
    tensors: Vec<(&'k str, &'k Key)>,
    modules: BTreeMap<&'k str, Module<'k>>,
}

/// What a network of EDM's is made with.
fn arguments(network: &NetworkConfig) -> serde_json::Value {
    match network {
        NetworkConfig::SongUnet(c) => {
            let mut init = serde_json::json!({
                "img_resolution": c.resolution,
                "img_channels": c.channels,
                "label_dim": c.classes,
                "model_type": "SongUNet",
                "model_channels": c.model_channels,
                "channel_mult": c.channel_multipliers,
                "dropout": c.dropout,
                "augment_dim": c.augment_labels,
            });
            if c.embedding == Embedding::Fourier {
                init["embedding_type"] = "fourier".into();
                init["channel_mult_noise"] = c.noise_multiplier.into();
            }
            if c.encoder == Encoder::Residual {
                init["encoder_type"] = "residual".into();
            }
            if c.resample_filter == ResampleFilter::Binomial {
                init["resample_filter"] = serde_json::json!([1, 3, 3, 1]);
            }
            init
        }
        NetworkConfig::DhariwalUnet(c) => serde_json::json!({
            "img_resolution": c.resolution,
            "img_channels": c.channels,
            "label_dim": c.classes,
            "model_type": "DhariwalUNet",
            "model_channels": c.model_channels,
            "channel_mult": c.channel_multipliers,
            "dropout": c.dropout,
            "augment_dim": c.augment_labels,
        }),
        other => panic!("not one of EDM's: {other:?}"),
    }
}

/// The arguments of NCSN++, as in EDM's `ve` files.
pub fn ncsnpp(plain: SongUNetConfig) -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        embedding: Embedding::Fourier,
        noise_multiplier: 2,
        encoder: Encoder::Residual,
        resample_filter: ResampleFilter::Binomial,
        ..plain
    })
}

/// Writes a network as EDM does: `ema` with nested persistent objects.
pub fn edm_pickle(
    out: &mut dyn Write,
    network: &NetworkConfig,
    values: &mut dyn FnMut(&Key) -> Vec<f32>,
) -> Result<()> {
    let init = arguments(network);
    let class = init["model_type"].as_str().unwrap().to_string();
    let keys = network.keys();
    let mut root = Module::default();
    for key in &keys {
        let mut at = &mut root;
        let mut parts: Vec<&str> = key.name.split('.').collect();
        let last = parts.pop().unwrap();
        for part in parts {
            at = at.modules.entry(part).or_default();
        }
        at.tensors.push((last, key));
    }
    let mut p = Pickler::new(out, 4);
    p.start()?;
    p.raw(b"}(")?;
    p.text("ema")?;
    let attributes = serde_json::json!({
        "img_resolution": init["img_resolution"],
        "sigma_data": 0.5,
        "sigma_min": 0.0,
    });
    module(
        &mut p,
        &root,
        &["EDMPrecond", &class, ""],
        values,
        &mut |p| {
            for (key, value) in attributes.as_object().unwrap() {
                p.text(key)?;
                p.json(value)?;
            }
            // EDM's own default.
            p.text("sigma_max")?;
            p.float(f64::INFINITY)?;
            p.text("_init_kwargs")?;
            p.json(&init)
        },
    )?;
    p.text("dataset_kwargs")?;
    p.json(&serde_json::json!({"path": "datasets/example.zip"}))?;
    p.raw(b"u")?;
    p.stop()
}

/// Writes further fields of a module's state.
type More<'a> = dyn FnMut(&mut Pickler<'_>) -> Result<()> + 'a;

fn module(
    p: &mut Pickler<'_>,
    of: &Module<'_>,
    classes: &[&str],
    values: &mut dyn FnMut(&Key) -> Vec<f32>,
    more: &mut More<'_>,
) -> Result<()> {
    let (class, below) = classes.split_first().unwrap_or((&"UNetBlock", &[]));
    p.global("torch_utils.persistence", "_reconstruct_persistent_obj")?;
    p.raw(b"}(")?;
    for (key, value) in [("type", "class"), ("class_name", class)] {
        p.text(key)?;
        p.text(value)?;
    }
    p.text("module_src")?;
    // Long enough at the root to be passed over unread.
    let lines = if below.is_empty() { 1 } else { 200 };
    p.text(&"raise SystemError('this is never run')\n".repeat(lines))?;
    p.text("state")?;
    p.raw(b"}(")?;
    for (group, buffer) in [("_parameters", false), ("_buffers", true)] {
        p.text(group)?;
        p.ordered_dict()?;
        p.raw(b"(")?;
        for (name, key) in of.tensors.iter().filter(|(_, key)| key.buffer == buffer) {
            p.text(name)?;
            p.parameter(&key.shape, &values(key))?;
        }
        p.raw(b"u")?;
    }
    p.text("_modules")?;
    p.ordered_dict()?;
    p.raw(b"(")?;
    for (name, inner) in &of.modules {
        p.text(name)?;
        module(p, inner, below, values, &mut |_| Ok(()))?;
    }
    p.raw(b"u")?;
    more(p)?;
    p.raw(b"uu\x85R")
}
