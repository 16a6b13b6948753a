//! Parts of latent diffusion models through the public interface: files of them, and embeddings of prompts on disk.

use burn::tensor::{DType, Device, Tensor, TensorData};
use fewstep::Error;
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck, Tiling};
use fewstep::denoiser::{Condition, Contexts};
use fewstep::import::{AutoencoderFile, TextEncoderFile};
use fewstep::model::File;
use fewstep::noise::{Domain, Stream};
use fewstep::prompt::{EmbeddingCache, EmbeddingType};
use fewstep::text::{TextEncoderConfig, Tokenizer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn autoencoder(bottleneck: Bottleneck) -> AutoencoderConfig {
    AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: vec![1],
        inner_channels: 4,
        latent_channels: 2,
        bottleneck,
        scale: match bottleneck {
            Bottleneck::Codebook { .. } => 1.0,
            _ => 0.18215,
        },
    }
}

fn text_encoder() -> TextEncoderConfig {
    TextEncoderConfig {
        vocabulary: 520,
        width: 128,
        inner_width: 64,
        layers: 2,
        heads: 2,
        positions: 8,
    }
}

/// Random numbers for keys, under names that start with `prefix`.
fn tensors(
    prefix: &str,
    keys: &[(String, Vec<usize>)],
    dtype: DType,
) -> BTreeMap<String, TensorData> {
    let tensor = |(index, (name, shape)): (usize, &(String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        let scale = (len as f32 / shape[0] as f32).sqrt();
        let values = Stream::new(7, Domain::Test, index as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| v / scale).collect();
        let data = TensorData::new(values, shape.clone()).convert_dtype(dtype);
        (format!("{prefix}{name}"), data)
    };
    keys.iter().enumerate().map(tensor).collect()
}

fn write(path: &Path, tensors: BTreeMap<String, TensorData>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File {
        tensors,
        ..File::default()
    };
    file.write(path).unwrap();
}

fn image(file: &AutoencoderFile) -> Vec<f32> {
    let latents = Stream::new(0, Domain::Test, 99).normals(2 * 5 * 4);
    let latents = Tensor::<4>::from_data(TensorData::new(latents, [1, 2, 5, 4]), &Device::flex());
    let autoencoder = file.load(&Device::flex()).unwrap();
    let tiling = Tiling::default();
    let image = autoencoder.decode(latents.clone()).unwrap();
    assert_eq!(image.dims(), [1, 3, 10, 8]);
    let tiled = autoencoder.decode_tiled(latents, &tiling).unwrap();
    let values = |image: Tensor<4>| image.into_data().iter::<f32>().collect::<Vec<_>>();
    let image = values(image);
    assert_eq!(values(tiled), image);
    image
}

#[test]
fn an_autoencoder_is_found_in_all_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for bottleneck in [Bottleneck::Normal {}, Bottleneck::Codebook { codes: 9 }] {
        let config = autoencoder(bottleneck);
        let keys = config.keys().unwrap();
        let whole = folder.path().join("model.safetensors");
        let mut inside = tensors("first_stage_model.", &keys, DType::F32);
        let other = TensorData::new(vec![1f32; 4], [4]);
        inside.insert("model.diffusion_model.out.2.bias".into(), other.clone());
        write(&whole, inside);
        let file = AutoencoderFile::open(&whole).unwrap();
        assert_eq!(*file.config(), config);
        let expected = image(&file);

        // The autoencoder alone, with a critic that is left aside.
        let alone = folder.path().join("first-stage.safetensors");
        let mut inside = tensors("", &keys, DType::F32);
        inside.insert("loss.discriminator.main.0.bias".into(), other);
        write(&alone, inside);
        assert_eq!(image(&AutoencoderFile::open(&alone).unwrap()), expected);

        // The name that the diffusers library looks for, with its settings beside it; official names still do.
        let vae = folder.path().join("diffusers/vae");
        write(
            &vae.join("diffusion_pytorch_model.safetensors"),
            tensors("", &keys, DType::F32),
        );
        std::fs::write(vae.join("config.json"), "{\"scaling_factor\": 0.5}").unwrap();
        for path in [folder.path().join("diffusers"), vae.clone()] {
            let file = AutoencoderFile::open(&path).unwrap();
            assert_eq!(file.config().scale, 0.5);
        }
        let set = |text: &str| {
            std::fs::write(vae.join("config.json"), text).unwrap();
            AutoencoderFile::open(&vae).unwrap_err().to_string()
        };
        let groups = set("{\"norm_num_groups\": 16}");
        assert!(groups.contains("norm_num_groups = 16; only 32"), "{groups}");
        assert!(set("{").contains("config.json"));

        // Fewer digits.
        for dtype in [DType::F16, DType::BF16] {
            let path = folder.path().join("half.safetensors");
            write(&path, tensors("first_stage_model.", &keys, dtype));
            let got = image(&AutoencoderFile::open(&path).unwrap());
            let close = got
                .iter()
                .zip(&expected)
                .filter(|(g, e)| (*g - *e).abs() < 0.2);
            // A code may jump.
            assert!(got != expected && close.count() * 10 > 9 * got.len());
        }
    }
}

#[test]
fn a_buffer_may_say_the_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let keys = autoencoder(Bottleneck::Normal {}).keys().unwrap();
    let mut inside = tensors("first_stage_model.", &keys, DType::F32);
    inside.insert("scale_factor".into(), TensorData::new(vec![0.25f32], [1]));
    write(&path, inside);
    assert_eq!(AutoencoderFile::open(&path).unwrap().config().scale, 0.25);
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let keys = autoencoder(Bottleneck::Normal {}).keys().unwrap();
    write(&path, tensors("first_stage_model.", &keys, DType::F32));
    let error = TextEncoderFile::open(&path, None).unwrap_err();
    assert!(matches!(error, Error::MissingPart { .. }), "{error}");
    let text = error.to_string();
    for part in [
        "model.safetensors has no text encoder",
        "cond_stage_model",
        "`text_encoder` folder",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let text = AutoencoderFile::open(&empty).unwrap_err().to_string();
    assert!(
        text.contains("has no autoencoder") && text.contains("vae/"),
        "{text}"
    );
    let text = Tokenizer::read(&empty).unwrap_err().to_string();
    assert!(text.contains("has no tokenizer"), "{text}");
    let none = AutoencoderFile::open(&folder.path().join("none")).unwrap_err();
    assert!(matches!(none, Error::File { .. }), "{none}");

    let without = |name: &str| {
        let mut inside = tensors("first_stage_model.", &keys, DType::F32);
        inside.remove(&format!("first_stage_model.{name}")).unwrap();
        write(&path, inside);
        AutoencoderFile::open(&path).unwrap_err().to_string()
    };
    let text = without("decoder.mid.attn_1.q.bias");
    assert!(
        text.contains("missing: decoder.mid.attn_1.q.bias"),
        "{text}"
    );
    let text = without("encoder.conv_in.weight");
    assert!(text.contains("cannot be told"), "{text}");
    let with = |name: &str, data: TensorData| {
        let mut inside = tensors("first_stage_model.", &keys, DType::F32);
        inside.insert(format!("first_stage_model.{name}"), data);
        write(&path, inside);
        AutoencoderFile::open(&path).unwrap_err().to_string()
    };
    let one = || TensorData::new(vec![1f32], [1]);
    let text = with("decoder.new.bias", one());
    assert!(text.contains("unexpected: decoder.new.bias"), "{text}");
    let text = with("quant_conv.bias", one());
    assert!(
        text.contains("quant_conv.bias: file [1], network [4]"),
        "{text}"
    );
    // A matrix in place of a 1x1 kernel is the same; one in place of a 3x3 kernel is not.
    let text = with(
        "decoder.conv_in.weight",
        TensorData::new(vec![1f32; 64 * 4], [64, 4]),
    );
    assert!(
        text.contains("decoder.conv_in.weight: file [64, 4]"),
        "{text}"
    );
}

/// A text encoder and a vocabulary in a folder as the diffusers library writes them.
fn model(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    let keys = text_encoder().keys().unwrap();
    write(
        &model.join("text_encoder/model.safetensors"),
        tensors("", &keys, DType::F32),
    );
    // Bytes that print stand for themselves, the others for the characters from 256 on.
    let mut other = 256..;
    let bytes = (0..256u32).map(|byte| match byte {
        33..=126 | 161..=172 | 174..=255 => byte,
        _ => other.next().unwrap(),
    });
    let symbols: Vec<char> = bytes.map(|code| char::from_u32(code).unwrap()).collect();
    let single = symbols.iter().map(|c| c.to_string());
    let ends = symbols.iter().map(|c| format!("{c}</w>"));
    let more = ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"].map(str::to_string);
    let all = single.chain(ends).chain(more);
    let ids: BTreeMap<String, usize> = all.zip(0..).collect();
    std::fs::create_dir_all(model.join("tokenizer")).unwrap();
    let put = |name: &str, text: String| std::fs::write(model.join("tokenizer").join(name), text);
    put("vocab.json", serde_json::to_string(&ids).unwrap()).unwrap();
    put("merges.txt", "#version: 0.2\nc a\nca t</w>\n".into()).unwrap();
    model
}

#[test]
fn embeddings_are_computed_once() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let model = model(folder.path());
    let file = TextEncoderFile::open(&model, None).unwrap();
    assert_eq!(*file.config(), text_encoder());
    let tokenizer = Tokenizer::read(&model).unwrap();
    let prompts = ["a cat", "", "cat cat cat cat cat cat cat"].map(str::to_string);
    let cache = folder.path().join("cache");
    let run = |tokenizer: &Tokenizer, prompts: &[String], kind| {
        let cache = EmbeddingCache::open(&cache, kind).unwrap();
        let mut done = Vec::new();
        let mut progress = |count| done.push(count);
        let all = cache.embed(prompts, tokenizer, &file, &device, &mut progress);
        assert!(all.is_err() || done == (1..=prompts.len()).collect::<Vec<_>>());
        all
    };
    let error = run(&tokenizer, &prompts, EmbeddingType::F32)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("77 ids") && error.contains("8 positions"),
        "{error}"
    );
    let tokenizer = tokenizer.with_length(8).unwrap();
    let values = |t: Tensor<3>| t.into_data().iter::<f32>().collect::<Vec<f32>>();

    let first = run(&tokenizer, &prompts, EmbeddingType::F32).unwrap();
    let usage = first.usage();
    assert_eq!((usage.read, usage.written, usage.broken), (0, 3, 0));
    assert_eq!((first.len(), first.shape()), (3, [8, 128]));
    let [(2, cut)] = first.truncated() else {
        panic!("{:?}", first.truncated());
    };
    assert_eq!(cut.byte, 24);
    let encoder = file.load(&device).unwrap();
    for (i, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.encode(prompt).ids;
        let want = values(encoder.embed(&[&ids]).unwrap());
        assert_eq!(values(first.batch(&[i], &device).unwrap()), want);
        let both = first.batch(&[1, i], &device).unwrap();
        assert_eq!(both.dims(), [2, 8, 128]);
        assert_eq!(values(both)[8 * 128..], want);
    }
    assert!(first.batch(&[3], &device).is_err() && first.batch(&[], &device).is_err());

    // What is there is read, what is broken is mended, what is new is written; types do not mix.
    let second = run(&tokenizer, &prompts, EmbeddingType::F32).unwrap();
    assert_eq!((second.usage().read, second.usage().written), (3, 0));
    assert_eq!(second.digest(), first.digest());
    let mut files: Vec<PathBuf> = std::fs::read_dir(first.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    let mut bytes = std::fs::read(&files[1]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&files[1], &bytes).unwrap();
    let errors = (0..3).filter(|i| first.batch(&[*i], &device).is_err());
    assert_eq!(errors.count(), 1);
    let more = [prompts.as_slice(), &["a dog".to_string()]].concat();
    let third = run(&tokenizer, &more, EmbeddingType::F32).unwrap();
    let usage = third.usage();
    assert_eq!((usage.read, usage.written, usage.broken), (2, 2, 1));
    assert_ne!(third.digest(), first.digest());
    assert_eq!(
        values(third.batch(&[0, 1, 2], &device).unwrap()),
        values(second.batch(&[0, 1, 2], &device).unwrap())
    );
    // A part is a list of its own, which a distillation can draw from without holding it.
    let part = third.part(2..4).unwrap();
    assert_eq!((part.len(), part.truncated().len()), (2, 1));
    assert_eq!(part.truncated()[0].0, 0);
    let direct = run(&tokenizer, &more[2..4], EmbeddingType::F32).unwrap();
    assert_eq!(part.digest(), direct.digest());
    assert!(third.part(2..5).is_err() && third.part(1..1).is_err());
    let contexts = Contexts::of(Arc::new(part), None).unwrap();
    assert_eq!(contexts.dims(), [2, 8, 128]);
    let held = Contexts::new(third.batch(&[2, 3], &device).unwrap(), None).unwrap();
    let draw = |contexts: &Contexts| {
        let told = contexts.draw(Condition::default(), 5, 1, 0..9, &device);
        values(told.unwrap().context.unwrap())
    };
    assert_eq!(draw(&contexts), draw(&held));

    let half = run(&tokenizer, &prompts, EmbeddingType::F16).unwrap();
    assert_eq!(half.usage().written, 3);
    let (half, whole) = (half.batch(&[0], &device), first.batch(&[0], &device));
    for (h, w) in values(half.unwrap()).iter().zip(values(whole.unwrap())) {
        assert!((h - w).abs() <= w.abs() * 0.0005 + 1e-6);
    }
}

#[test]
fn a_text_encoder_of_another_width_needs_its_heads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ckpt.safetensors");
    let config = TextEncoderConfig {
        width: 24,
        heads: 3,
        ..text_encoder()
    };
    let keys = config.keys().unwrap();
    let mut inside = tensors("cond_stage_model.transformer.", &keys, DType::F16);
    let positions = TensorData::new((0..8i64).collect::<Vec<_>>(), [1, 8]);
    let name = "cond_stage_model.transformer.text_model.embeddings.position_ids";
    inside.insert(name.into(), positions);
    write(&path, inside);
    let error = TextEncoderFile::open(&path, None).unwrap_err().to_string();
    assert!(
        error.contains("attention heads") && error.contains("24 wide"),
        "{error}"
    );
    let file = TextEncoderFile::open(&path, Some(3)).unwrap();
    assert_eq!(*file.config(), config);
    assert_ne!(
        file.digest().unwrap(),
        TextEncoderFile::open(&path, Some(4))
            .unwrap()
            .digest()
            .unwrap()
    );
}
