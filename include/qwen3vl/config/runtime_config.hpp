/// The run-time half of a checkpoint's config.json: what no kernel is specialised on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qwen3vl {

/// `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (4.57). Fields that a type does not use are
/// left as they are; optional numbers are NaN-free and flagged by `has_*`.
struct RopeParameters {
  std::string rope_type = "default";  ///< default, linear, dynamic, yarn, longrope, llama3, proportional
  double rope_theta = 500000.0;
  double partial_rotary_factor = 1.0;  ///< of 'proportional': the share of the frequencies that are not 0
  double factor = 1.0;
  bool has_factor = false;
  double attention_factor = 0.0;
  bool has_attention_factor = false;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 0.0;          ///< 0 means absent
  double mscale_all_dim = 0.0;  ///< 0 means absent
  bool truncate = true;
  double low_freq_factor = 0.0;                       ///< 0 means absent
  double high_freq_factor = 0.0;                      ///< 0 means absent
  std::int64_t original_max_position_embeddings = 0;  ///< 0 means absent: max_position_embeddings
  std::vector<double> short_factor{};
  std::vector<double> long_factor{};
};

/// Token ids that the model itself uses (positions, merging of images and videos).
struct SpecialTokens {
  std::int32_t image_token_id = 151655;
  std::int32_t video_token_id = 151656;
  std::int32_t vision_start_token_id = 151652;
  std::int32_t vision_end_token_id = 151653;
};

/// The run-time half of config.json.
struct RuntimeConfig {
  RopeParameters rope{};
  double vision_rope_theta = 10000.0;
  float rms_norm_eps = 1e-6f;
  std::int64_t max_position_embeddings = 128000;
  double router_aux_loss_coef = 0.001;  ///< weight of aux_loss in the loss of variants with experts
  bool output_router_logits = false;    ///< what ForwardOptions::output_router_logits is if not set; with experts
  SpecialTokens tokens{};
  std::vector<std::int32_t> eos_token_id{};  ///< text_config.eos_token_id, an int or a list there
  std::int32_t bos_token_id = -1;            ///< -1 means absent
  std::int32_t pad_token_id = -1;            ///< -1 means absent
};

}  // namespace qwen3vl
