//! A network's sizes, in lines for people.

use fewstep::network::{Embedding, Encoder, LatentAttention, NetworkConfig};

/// What a network is, and its sizes.
pub fn network_lines(network: &NetworkConfig) -> (String, Vec<(String, String)>) {
    let mut parts = Vec::new();
    let mut put = |name: &str, text: String| parts.push((name.to_string(), text));
    let [channels, height, width] = network.image_shape();
    let pixels = format!("{width} x {height}, {channels} channel{}", plural(channels));
    let (kind, sizes) = match network {
        NetworkConfig::SongUnet(c) => {
            let kind = match (c.embedding, c.encoder) {
                (Embedding::Positional, Encoder::Standard) => "DDPM++ (song-unet)",
                (Embedding::Fourier, Encoder::Residual) => "NCSN++ (song-unet)",
                _ => "song-unet",
            };
            put("images", pixels);
            (
                kind,
                (
                    c.model_channels,
                    &c.channel_multipliers,
                    c.blocks,
                    c.dropout,
                ),
            )
        }
        NetworkConfig::DhariwalUnet(c) => {
            put("images", pixels);
            (
                "ADM (dhariwal-unet)",
                (
                    c.model_channels,
                    &c.channel_multipliers,
                    c.blocks,
                    c.dropout,
                ),
            )
        }
        NetworkConfig::LatentUnet(c) => {
            put("latents", pixels);
            let kind = match &c.attention {
                LatentAttention::Text { .. } => "Stable Diffusion's U-Net (latent-unet)",
                LatentAttention::Pixels { .. } => "latent diffusion's U-Net (latent-unet)",
            };
            (
                kind,
                (
                    c.model_channels,
                    &c.channel_multipliers,
                    c.blocks,
                    c.dropout,
                ),
            )
        }
        other => return (format!("{other:?}"), parts),
    };
    let (base, multipliers, blocks, dropout) = sizes;
    // Each level is half as wide as the one before.
    let level = |(i, m): (usize, &usize)| format!("{} at {}", base * m, width >> i);
    let levels: Vec<String> = multipliers.iter().enumerate().map(level).collect();
    put("channels", levels.join(", "));
    put("blocks", format!("{blocks} a resolution"));
    put("attention", attention(network));
    match network.classes() {
        0 => put("classes", "none".into()),
        classes => put("classes", classes.to_string()),
    }
    match network.context_width() {
        None => put("text", "none".into()),
        Some(width) => {
            let whole = match network.added() {
                Some(added) => format!(", as a whole {} wide, with six sizes", added.text),
                None => String::new(),
            };
            put("text", format!("tokens {width} wide{whole}"));
        }
    }
    put(
        "step branch",
        if network.has_step_branch() {
            "yes"
        } else {
            "no"
        }
        .into(),
    );
    put("dropout", dropout.to_string());
    if network.augment_labels() > 0 {
        put(
            "augmentation",
            format!("{} labels", network.augment_labels()),
        );
    }
    (kind.to_string(), parts)
}

fn attention(network: &NetworkConfig) -> String {
    let at: Vec<usize> = match network {
        NetworkConfig::SongUnet(c) => c.attention_resolutions.clone(),
        NetworkConfig::DhariwalUnet(c) => c.attention_resolutions.clone(),
        NetworkConfig::LatentUnet(c) => {
            let at = c.attention_factors.iter();
            at.map(|factor| c.resolution / factor).collect()
        }
        _ => Vec::new(),
    };
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    let heads = match network {
        NetworkConfig::LatentUnet(c) => match &c.attention {
            LatentAttention::Text { heads, depth, .. } => format!(", {heads} heads, {depth} deep"),
            LatentAttention::Pixels { head_channels } => format!(", heads of {head_channels}"),
        },
        _ => String::new(),
    };
    match at.is_empty() {
        true => "none".into(),
        false => format!("at {}{heads}", at.join(", ")),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
