//! The keys of configurations of diffusers and transformers: what each may be.
//!
//! A key that is acted on is read elsewhere; one that changes nothing here says why; any other has the values with which a
//! model is what is built here, and all else is an error that names key, value and file. So is a key that is not known,
//! unless it is null: newer versions of those libraries add keys for what older models do not have.
//!
//! The lists are those of diffusers 0.42 and transformers 5.24, and what older versions wrote besides.

/// What a key may be.
pub(in crate::import) enum Rule {
    /// It is read where it is needed.
    Read,
    /// The tensors say the same, and are compared.
    Tensors,
    /// It makes no difference here, for this reason.
    Any(#[expect(dead_code, reason = "it is for who reads the table")] &'static str),
    /// One of these, as JSON; null is always allowed. The first is named to the user.
    Only(&'static [&'static str]),
    /// A list of these.
    Each(&'static [&'static str]),
}

use Rule::{Any, Each, Only, Read, Tensors};

pub(in crate::import) type Table = &'static [(&'static str, Rule)];

const SAMPLER: &str = "of another library's sampler; samplers here have settings of their own";
const UNUSED: &str = "means something only beside a key that is refused";
const TRAINING: &str = "of training or of fresh weights";
const SIZE: &str = "the size of the pictures of its training";
const PRECISION: &str = "everything is computed in f32 or as asked for";
const KIND: &str = "names for the library, not for the model";
const GENERATION: &str = "of models that write texts, which older versions note for all";

/// `UNet2DConditionModel`.
pub(in crate::import) const UNET: Table = &[
    ("_class_name", Only(&["\"UNet2DConditionModel\""])),
    ("sample_size", Read),
    ("attention_head_dim", Read),
    ("dropout", Read),
    ("in_channels", Tensors),
    ("out_channels", Tensors),
    ("block_out_channels", Tensors),
    ("layers_per_block", Tensors),
    ("cross_attention_dim", Tensors),
    ("transformer_layers_per_block", Read),
    (
        "down_block_types",
        Each(&["CrossAttnDownBlock2D", "DownBlock2D"]),
    ),
    ("up_block_types", Each(&["CrossAttnUpBlock2D", "UpBlock2D"])),
    ("mid_block_type", Only(&["\"UNetMidBlock2DCrossAttn\""])),
    ("act_fn", Only(&["\"silu\"", "\"swish\""])),
    ("norm_num_groups", Only(&["32"])),
    ("norm_eps", Only(&["1e-5"])),
    ("center_input_sample", Only(&["false"])),
    ("flip_sin_to_cos", Only(&["true"])),
    ("freq_shift", Only(&["0"])),
    ("downsample_padding", Only(&["1"])),
    ("mid_block_scale_factor", Only(&["1"])),
    ("only_cross_attention", Only(&["false"])),
    ("mid_block_only_cross_attention", Only(&["false"])),
    ("dual_cross_attention", Only(&["false"])),
    ("use_linear_projection", Tensors),
    ("cross_attention_norm", Only(&["null"])),
    ("num_attention_heads", Only(&["null"])),
    ("reverse_transformer_layers_per_block", Only(&["null"])),
    ("class_embed_type", Only(&["null"])),
    ("num_class_embeds", Only(&["null"])),
    ("projection_class_embeddings_input_dim", Read),
    ("class_embeddings_concat", Only(&["false"])),
    ("addition_embed_type", Read),
    ("addition_embed_type_num_heads", Any(UNUSED)),
    ("addition_time_embed_dim", Read),
    ("encoder_hid_dim", Only(&["null"])),
    ("encoder_hid_dim_type", Only(&["null"])),
    ("resnet_time_scale_shift", Only(&["\"default\""])),
    ("resnet_skip_time_act", Only(&["false"])),
    ("resnet_out_scale_factor", Only(&["1.0"])),
    ("time_embedding_type", Only(&["\"positional\""])),
    ("time_embedding_dim", Only(&["null"])),
    ("time_embedding_act_fn", Only(&["null"])),
    ("timestep_post_act", Only(&["null"])),
    ("time_cond_proj_dim", Only(&["null"])),
    ("conv_in_kernel", Only(&["3"])),
    ("conv_out_kernel", Only(&["3"])),
    ("attention_type", Only(&["\"default\""])),
    ("upcast_attention", Any(PRECISION)),
];

/// `AutoencoderKL` and `VQModel`.
pub(in crate::import) const AUTOENCODER: Table = &[
    ("_class_name", Only(&["\"AutoencoderKL\"", "\"VQModel\""])),
    ("scaling_factor", Read),
    ("in_channels", Tensors),
    ("out_channels", Tensors),
    ("block_out_channels", Tensors),
    ("layers_per_block", Tensors),
    ("latent_channels", Tensors),
    ("num_vq_embeddings", Tensors),
    ("vq_embed_dim", Tensors),
    (
        "down_block_types",
        Each(&["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
    ),
    (
        "up_block_types",
        Each(&["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]),
    ),
    ("act_fn", Only(&["\"silu\"", "\"swish\""])),
    ("norm_num_groups", Only(&["32"])),
    ("norm_type", Only(&["\"group\""])),
    ("shift_factor", Only(&["0"])),
    ("latents_mean", Only(&["null"])),
    ("latents_std", Only(&["null"])),
    ("use_quant_conv", Only(&["true"])),
    ("use_post_quant_conv", Only(&["true"])),
    ("mid_block_add_attention", Only(&["true"])),
    ("lookup_from_codebook", Only(&["false"])),
    ("sample_size", Any(SIZE)),
    ("force_upcast", Any(PRECISION)),
];

/// `CLIPTextConfig`.
pub(in crate::import) const TEXT_ENCODER: Table = &[
    ("model_type", Only(&["\"clip_text_model\"", "\"clip\""])),
    ("num_attention_heads", Read),
    ("hidden_size", Tensors),
    ("intermediate_size", Tensors),
    ("num_hidden_layers", Tensors),
    ("max_position_embeddings", Tensors),
    ("vocab_size", Tensors),
    ("hidden_act", Only(&["\"quick_gelu\"", "\"gelu\""])),
    ("layer_norm_eps", Only(&["1e-5"])),
    ("is_decoder", Only(&["false"])),
    ("is_encoder_decoder", Only(&["false"])),
    ("add_cross_attention", Only(&["false"])),
    ("pruned_heads", Only(&["{}"])),
    ("quantization_config", Only(&["null"])),
    ("chunk_size_feed_forward", Only(&["0"])),
    ("attention_dropout", Any(TRAINING)),
    ("dropout", Any(TRAINING)),
    ("initializer_factor", Any(TRAINING)),
    ("initializer_range", Any(TRAINING)),
    ("gradient_checkpointing", Any(TRAINING)),
    ("problem_type", Any(TRAINING)),
    (
        "projection_dim",
        Any("of the text as a whole; the U-Net is given its tokens"),
    ),
    // The ends of a text come from the vocabulary; these say where the text as a whole is taken from.
    (
        "bos_token_id",
        Any("of the text as a whole; the U-Net is given its tokens"),
    ),
    (
        "eos_token_id",
        Any("of the text as a whole; the U-Net is given its tokens"),
    ),
    ("pad_token_id", Any("the tokenizer pads")),
    ("sep_token_id", Any("of other kinds of text models")),
    (
        "decoder_start_token_id",
        Any("of other kinds of text models"),
    ),
    ("architectures", Any(KIND)),
    ("transformers_version", Any(KIND)),
    ("tokenizer_class", Any(KIND)),
    ("finetuning_task", Any(KIND)),
    ("task_specific_params", Any(KIND)),
    ("id2label", Any(KIND)),
    ("label2id", Any(KIND)),
    ("prefix", Any(KIND)),
    ("torch_dtype", Any(PRECISION)),
    ("dtype", Any(PRECISION)),
    ("use_bfloat16", Any(PRECISION)),
    ("torchscript", Any(KIND)),
    ("return_dict", Any(KIND)),
    ("output_attentions", Any(KIND)),
    ("output_hidden_states", Any(KIND)),
    ("use_cache", Any(KIND)),
    ("tie_word_embeddings", Any(KIND)),
    ("tie_encoder_decoder", Any(KIND)),
    ("cross_attention_hidden_size", Any(KIND)),
    ("tf_legacy_loss", Any(KIND)),
    ("begin_suppress_tokens", Any(GENERATION)),
    ("suppress_tokens", Any(GENERATION)),
    ("exponential_decay_length_penalty", Any(GENERATION)),
    ("typical_p", Any(GENERATION)),
    ("bad_words_ids", Any(GENERATION)),
    ("diversity_penalty", Any(GENERATION)),
    ("do_sample", Any(GENERATION)),
    ("early_stopping", Any(GENERATION)),
    ("encoder_no_repeat_ngram_size", Any(GENERATION)),
    ("forced_bos_token_id", Any(GENERATION)),
    ("forced_eos_token_id", Any(GENERATION)),
    ("length_penalty", Any(GENERATION)),
    ("max_length", Any(GENERATION)),
    ("min_length", Any(GENERATION)),
    ("no_repeat_ngram_size", Any(GENERATION)),
    ("num_beam_groups", Any(GENERATION)),
    ("num_beams", Any(GENERATION)),
    ("num_return_sequences", Any(GENERATION)),
    ("output_scores", Any(GENERATION)),
    ("remove_invalid_values", Any(GENERATION)),
    ("repetition_penalty", Any(GENERATION)),
    ("return_dict_in_generate", Any(GENERATION)),
    ("temperature", Any(GENERATION)),
    ("top_k", Any(GENERATION)),
    ("top_p", Any(GENERATION)),
];

/// The schedulers of models with discrete times.
pub(in crate::import) const SCHEDULER: Table = &[
    ("num_train_timesteps", Only(&["1000"])),
    ("beta_schedule", Only(&["\"scaled_linear\""])),
    ("beta_start", Read),
    ("beta_end", Read),
    ("trained_betas", Only(&["null"])),
    ("rescale_betas_zero_snr", Read),
    ("prediction_type", Read),
    ("predict_epsilon", Only(&["true"])),
    ("timestep_values", Only(&["null"])),
    ("tensor_format", Any(KIND)),
    ("timestep_type", Only(&["\"discrete\""])),
    // Otherwise the network predicts variances as well.
    (
        "variance_type",
        Only(&[
            "\"fixed_small\"",
            "\"fixed_small_log\"",
            "\"fixed_large\"",
            "\"fixed_large_log\"",
        ]),
    ),
    // Both change what the network says, not only where it is asked.
    ("clip_sample", Only(&["false"])),
    ("thresholding", Only(&["false"])),
    ("use_flow_sigmas", Only(&["false"])),
    ("use_dynamic_shifting", Only(&["false"])),
    ("shift_terminal", Only(&["null"])),
    ("flow_shift", Any(UNUSED)),
    ("time_shift_type", Any(UNUSED)),
    ("clip_sample_range", Any(UNUSED)),
    ("sample_max_value", Any(UNUSED)),
    ("dynamic_thresholding_ratio", Any(UNUSED)),
    ("timestep_spacing", Any(SAMPLER)),
    ("steps_offset", Any(SAMPLER)),
    ("set_alpha_to_one", Any(SAMPLER)),
    ("skip_prk_steps", Any(SAMPLER)),
    ("interpolation_type", Any(SAMPLER)),
    ("use_karras_sigmas", Any(SAMPLER)),
    ("use_exponential_sigmas", Any(SAMPLER)),
    ("use_beta_sigmas", Any(SAMPLER)),
    ("use_lu_lambdas", Any(SAMPLER)),
    ("final_sigmas_type", Any(SAMPLER)),
    ("sigma_min", Any(SAMPLER)),
    ("sigma_max", Any(SAMPLER)),
    ("solver_order", Any(SAMPLER)),
    ("solver_type", Any(SAMPLER)),
    ("solver_p", Any(SAMPLER)),
    ("algorithm_type", Any(SAMPLER)),
    ("lower_order_final", Any(SAMPLER)),
    ("euler_at_final", Any(SAMPLER)),
    ("lambda_min_clipped", Any(SAMPLER)),
    ("disable_corrector", Any(SAMPLER)),
    ("predict_x0", Any(SAMPLER)),
    ("original_inference_steps", Any(SAMPLER)),
    ("timestep_scaling", Any(SAMPLER)),
    ("noise_sampler_seed", Any(SAMPLER)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_rule() {
        for table in [UNET, AUTOENCODER, TEXT_ENCODER, SCHEDULER] {
            for (i, (key, rule)) in table.iter().enumerate() {
                assert!(table[..i].iter().all(|(other, _)| other != key), "{key}");
                if let Only(values) = rule {
                    // What cannot be parsed would allow nothing but null.
                    for value in *values {
                        assert!(
                            *value == "null"
                                || serde_json::from_str::<serde_json::Value>(value)
                                    .is_ok_and(|v| !v.is_null()),
                            "{key}: {value}"
                        );
                    }
                }
            }
        }
    }
}
