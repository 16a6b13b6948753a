//! Broken and hostile golden cases of latent models.

#[path = "support/victim.rs"]
mod victim;

use serde_json::json;
use victim::{Victim, mutate_victim, run};

#[test]
fn latent_settings() {
    for (name, other, turns) in [
        (
            "latent_network_ldm_heads",
            "weights_ldm_heads.safetensors",
            2,
        ),
        ("latent_network_sd_tiny", "weights_sd_tiny.safetensors", 1),
        ("latent_denoiser_sd_tiny", "weights_sd_tiny.safetensors", 2),
        ("latent_solver_ldm_tiny", "weights_ldm_tiny.safetensors", 1),
        (
            "guidance_timesteps_sd_tiny",
            "weights_sd_tiny.safetensors",
            1,
        ),
        ("ckpt_ldm", "ckpt_ldm.ckpt", 1),
        ("text_encoder_clip_tiny", "weights_clip_tiny.safetensors", 3),
        ("autoencoder_vq_tiny", "weights_vq_tiny.safetensors", 2),
    ] {
        if let Some(mut victim) = Victim::latent(name, other) {
            // Tables of hundreds of names say the same of each.
            for table in ["shapes", "dtypes", "ema_map", "first_stage"] {
                if name == "ckpt_ldm" && table != "shapes" && table != "ema_map" {
                    victim.description["config"][table] = json!(null);
                }
            }
            mutate_victim(&victim, turns);
        }
    }
}

#[test]
fn missing_and_misshapen_latent_tensors() {
    for (name, other, tensors) in [
        (
            "latent_network_sd_tiny",
            "weights_sd_tiny.safetensors",
            ["in/t0/x", "in/t0/t", "in/context", "out/grad/context"].as_slice(),
        ),
        (
            "latent_denoiser_sd_tiny",
            "weights_sd_tiny.safetensors",
            &[
                "in/s0/sigma",
                "in/uncond_context",
                "in/map/t",
                "out/map/alphas_cumprod",
            ],
        ),
        (
            "guidance_timesteps_sd_tiny",
            "weights_sd_tiny.safetensors",
            &["in/context", "out/ddim_5/timesteps", "out/ddim_5/eps0"],
        ),
        (
            "ckpt_ldm",
            "ckpt_ldm.ckpt",
            &["in/x", "in/t", "out/eps_ema", "out/betas"],
        ),
    ] {
        let Some(victim) = Victim::latent(name, other) else {
            return;
        };
        for missing in tensors {
            let path = victim.write(&victim.description, |n| n != *missing);
            assert!(run(&path).unwrap().failed > 0, "{name} without {missing}");
            let path = victim.write_with_stub(missing);
            assert!(
                run(&path).unwrap().failed > 0,
                "{name} with a stub for {missing}"
            );
        }
    }
}
