/// Small models with random weights, and prompts with images and videos, for the tests of generate().
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#ifndef __CUDACC__  // which does not know vectors of GCC
#include "qwen3vl/backend/cpu.hpp"
#endif
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/random_weights.hpp"

namespace generation_test {

using namespace qwen3vl;

template <bool experts>
struct Tiny {
  static constexpr ModelConfig config{.vision = {.depth = 1,
                                                 .hidden_size = 16,
                                                 .intermediate_size = 16,
                                                 .num_heads = 2,
                                                 .out_hidden_size = 32,
                                                 .num_position_embeddings = 4,
                                                 .deepstack_visual_indexes = {0}},
                                      .text = {.vocab_size = 64,
                                               .hidden_size = 32,
                                               .intermediate_size = 32,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 2,
                                               .num_key_value_heads = 1,
                                               .head_dim = 16,
                                               .mrope_section = {4, 2, 2},
                                               .moe = {.num_experts = experts ? 4 : 0,
                                                       .num_experts_per_tok = experts ? 2 : 0,
                                                       .moe_intermediate_size = experts ? 16 : 0}},
                                      .tie_word_embeddings = true};
};
using Dense = Tiny<false>;
using Moe = Tiny<true>;
static_assert(Variant<Dense> && Variant<Moe>);

inline constexpr TokenId image_token_id = 60, video_token_id = 61;
inline constexpr index_t patch_dim = Dense::config.vision.patch_dim();

template <class V, class P = F32, class B = Cpu>
ForConditionalGeneration<V, B, P> random_model(B& backend, std::uint64_t seed, float scale = 0.3f) {
  RuntimeConfig config;
  config.tokens = {.image_token_id = image_token_id,
                   .video_token_id = video_token_id,
                   .vision_start_token_id = 62,
                   .vision_end_token_id = 63};
  ForConditionalGeneration<V, B, P> model(backend, config);
  model.load(RandomWeights(seed, scale), "random weights");
  GenerationConfig generation;
  generation.pad_token_id = 0;
  generation.top_k = 0;
  model.set_generation_config(generation);
  return model;
}

/// An image: its grid and what is drawn.
struct RandomImage {
  GridThw grid;
  unsigned seed;
};

inline std::vector<float> pixels_of(const RandomImage& image) {
  std::mt19937 generator(image.seed);
  std::vector<float> pixels(static_cast<std::size_t>(image.grid.patches() * patch_dim));
  for (float& pixel : pixels) pixel = static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f;
  return pixels;
}

/// A prompt in the making.
struct Prompt {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> types;  // random models say image tokens in their answers
  std::vector<RandomImage> images, videos;

  Prompt& text(const std::vector<TokenId>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
    types.resize(ids.size(), text_token);
    return *this;
  }
  Prompt& image(const RandomImage& image) {
    images.push_back(image);
    return visual(image.grid.tokens(2), image_token_id, image_token);
  }
  /// Each group of frames after its time, as the processor writes videos.
  Prompt& video(const RandomImage& video) {
    for (std::int64_t frame = 0; frame < video.grid.t; ++frame) {
      text({static_cast<TokenId>(1 + frame)});
      visual(video.grid.tokens(2) / video.grid.t, video_token_id, video_token);
    }
    videos.push_back(video);
    return *this;
  }

 private:
  Prompt& visual(std::int64_t count, TokenId id, TokenType type) {
    text({62});
    ids.insert(ids.end(), static_cast<std::size_t>(count), id);
    types.resize(ids.size(), type);
    return text({63});
  }
};

inline HostMatrix<float> pixel_matrix(const std::vector<RandomImage>& images) {
  std::vector<float> all;
  for (const RandomImage& image : images) {
    const auto own = pixels_of(image);
    all.insert(all.end(), own.begin(), own.end());
  }
  if (all.empty()) return {};
  HostMatrix<float> matrix(static_cast<index_t>(all.size()) / patch_dim, patch_dim);
  std::ranges::copy(all, matrix.data());
  return matrix;
}

/// A batch, padded on the left or on the right.
inline ModelInputs inputs_of(const std::vector<Prompt>& prompts, bool pad_left = true) {
  std::size_t longest = 0;
  for (const Prompt& prompt : prompts) longest = std::max(longest, prompt.ids.size());
  const auto batch = static_cast<index_t>(prompts.size());
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(batch, static_cast<index_t>(longest));
  inputs.attention_mask = HostMatrix<std::uint8_t>(batch, static_cast<index_t>(longest));
  inputs.mm_token_type_ids = HostMatrix<std::uint8_t>(batch, static_cast<index_t>(longest));
  std::vector<RandomImage> images, videos;
  for (index_t b = 0; b < batch; ++b) {
    const Prompt& prompt = prompts[static_cast<std::size_t>(b)];
    const auto first = static_cast<index_t>(pad_left ? longest - prompt.ids.size() : 0);
    for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
      inputs.input_ids(b, first + static_cast<index_t>(i)) = prompt.ids[i];
      inputs.attention_mask(b, first + static_cast<index_t>(i)) = 1;
      inputs.mm_token_type_ids(b, first + static_cast<index_t>(i)) = prompt.types[i];
    }
    images.insert(images.end(), prompt.images.begin(), prompt.images.end());
    videos.insert(videos.end(), prompt.videos.begin(), prompt.videos.end());
  }
  inputs.pixel_values = pixel_matrix(images);
  inputs.pixel_values_videos = pixel_matrix(videos);
  for (const RandomImage& image : images) inputs.image_grid_thw.push_back(image.grid);
  for (const RandomImage& video : videos) inputs.video_grid_thw.push_back(video.grid);
  return inputs;
}

inline std::vector<TokenId> some_text(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(1 + generator() % 58);
  return ids;
}

/// max |a - b| / max |b|.
inline double difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 1e9;
  double largest = 0.0, scale = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
    scale = std::max(scale, static_cast<double>(std::abs(b[i])));
  }
  return largest / scale;
}

}  // namespace generation_test
