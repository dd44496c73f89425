/// The text model's rotary frequencies (Qwen3VLTextRotaryEmbedding with transformers' modeling_rope_utils). Only this
/// table depends on the rope type, so rope types are run-time values; the interleaving of the three position axes is
/// compile-time (backend/contract/ops.hpp).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Inverse frequencies and the factor on cos and sin.
struct RotaryFrequencies {
  std::vector<float> inv_freq;  ///< [head_dim / 2]
  float attention_scaling = 1.0f;
};

namespace detail {

/// The parameters of one rope type, checked on access.
class RopeReader {
 public:
  RopeReader(const RopeParameters& rope, std::int64_t max_position_embeddings)
      : rope_(rope), max_position_embeddings_(max_position_embeddings) {}

  bool is(std::string_view type) const { return rope_.rope_type == type; }
  double factor() const {
    if (!rope_.has_factor) missing("factor");
    return positive("factor", rope_.factor);
  }
  double positive(std::string_view name, double value) const {
    if (!(value > 0.0) || !std::isfinite(value)) wrong(name, concat("is ", value, ", wanted a positive number"));
    return value;
  }
  std::int64_t max_position_embeddings() const {
    if (max_position_embeddings_ < 1) wrong("max_position_embeddings", "is needed and must be positive");
    return max_position_embeddings_;
  }
  /// max_position_embeddings if absent.
  std::int64_t original_length() const {
    if (rope_.original_max_position_embeddings > 0) return rope_.original_max_position_embeddings;
    if (rope_.original_max_position_embeddings < 0 || max_position_embeddings_ < 1)
      wrong("original_max_position_embeddings", "(or max_position_embeddings) is needed and must be positive");
    return max_position_embeddings_;
  }
  const std::vector<double>& list(std::string_view name, const std::vector<double>& values, index_t size) const {
    if (values.empty()) missing(name);
    if (static_cast<index_t>(values.size()) != size)
      wrong(name, concat("has ", values.size(), " numbers, wanted ", size, ", one for each frequency"));
    return values;
  }
  [[noreturn]] void missing(std::string_view name) const {
    fail("rope_type '", rope_.rope_type, "' needs '", name, "', which rope_parameters does not have");
  }
  [[noreturn]] void wrong(std::string_view name, std::string_view what) const {
    fail("rope_type '", rope_.rope_type, "': '", name, "' ", what);
  }

 private:
  const RopeParameters& rope_;
  std::int64_t max_position_embeddings_;
};

/// base ** (0, 2, 4, ... / head_dim) in float32, as torch computes it.
inline std::vector<float> rotary_powers(float base, index_t head_dim) {
  std::vector<float> powers;
  for (index_t i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    // One rounding of the exact power: torch's float32 power is within one unit of that.
    powers.push_back(static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent))));
  }
  return powers;
}

/// The base that NTK scaling stretches to `sequence_length` tokens.
inline float dynamic_base(const RopeReader& read, double theta, index_t head_dim, std::int64_t sequence_length) {
  const std::int64_t longest = read.max_position_embeddings();
  if (head_dim <= 2) read.wrong("head_dim", "must be larger than 2");
  const double factor = read.factor(), exponent = static_cast<double>(head_dim) / static_cast<double>(head_dim - 2);
  if (sequence_length <= longest) return static_cast<float>(theta);
  // In the reference the length is a tensor during a pass, so all of this is float32.
  const float stretched =
      static_cast<float>(factor) * static_cast<float>(sequence_length) / static_cast<float>(longest) -
      static_cast<float>(factor - 1.0);
  return static_cast<float>(theta) * std::pow(stretched, static_cast<float>(exponent));
}

/// YaRN: frequencies that rotate often within the original length are kept, those that rotate less than once are
/// divided by the factor, with a linear ramp over the frequency index in between.
inline RotaryFrequencies yarn_frequencies(const RopeReader& read, const RopeParameters& rope, index_t head_dim) {
  const double factor = read.factor();
  RotaryFrequencies result;
  const auto mscale = [&](double scale) { return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; };
  if (rope.has_attention_factor) {
    result.attention_scaling = static_cast<float>(rope.attention_factor);
  } else if (rope.mscale != 0.0 && rope.mscale_all_dim != 0.0) {
    result.attention_scaling = static_cast<float>(mscale(rope.mscale) / mscale(rope.mscale_all_dim));
  } else {
    result.attention_scaling = static_cast<float>(mscale(1.0));
  }

  if (rope.rope_theta == 1.0) read.wrong("rope_theta", "must not be 1");
  const auto original = static_cast<double>(read.original_length()), dim = static_cast<double>(head_dim);
  // The frequency index that rotates `rotations` times within the original length.
  const auto correction = [&](std::string_view name, double rotations) {
    return dim * std::log(original / (read.positive(name, rotations) * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(rope.rope_theta));
  };
  double low = correction("beta_fast", rope.beta_fast), high = correction("beta_slow", rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;

  const std::vector<float> powers = rotary_powers(static_cast<float>(rope.rope_theta), head_dim);
  for (std::size_t i = 0; i < powers.size(); ++i) {
    const float extrapolated = 1.0f / powers[i], interpolated = 1.0f / (static_cast<float>(factor) * powers[i]);
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    result.inv_freq.push_back(interpolated * (1.0f - kept) + extrapolated * kept);
  }
  return result;
}

/// LongRoPE: a divisor for each frequency, from one of two lists.
inline RotaryFrequencies longrope_frequencies(const RopeReader& read, const RopeParameters& rope, index_t head_dim,
                                              std::int64_t sequence_length) {
  // Both lists are checked now, not at the first long prompt.
  const std::vector<double>& short_factor = read.list("short_factor", rope.short_factor, head_dim / 2);
  const std::vector<double>& long_factor = read.list("long_factor", rope.long_factor, head_dim / 2);
  const std::int64_t original = read.original_length();
  RotaryFrequencies result;
  if (rope.has_attention_factor) {
    result.attention_scaling = static_cast<float>(rope.attention_factor);
  } else {
    const double factor = rope.has_factor
                              ? read.factor()
                              : static_cast<double>(read.max_position_embeddings()) / static_cast<double>(original);
    if (factor > 1.0) {
      if (original == 1) read.wrong("original_max_position_embeddings", "must be larger than 1");
      result.attention_scaling =
          static_cast<float>(std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(original))));
    }
  }
  const std::vector<double>& divisors = sequence_length > original ? long_factor : short_factor;
  const std::vector<float> powers = rotary_powers(static_cast<float>(rope.rope_theta), head_dim);
  for (std::size_t i = 0; i < powers.size(); ++i)
    result.inv_freq.push_back(1.0f / (static_cast<float>(divisors[i]) * powers[i]));
  return result;
}

/// Llama 3.1: long wavelengths are divided by the factor, short ones stay, and those between are interpolated.
inline RotaryFrequencies llama3_frequencies(const RopeReader& read, const RopeParameters& rope, index_t head_dim) {
  const auto factor = static_cast<float>(read.factor());
  if (rope.low_freq_factor == 0.0) read.missing("low_freq_factor");
  if (rope.high_freq_factor == 0.0) read.missing("high_freq_factor");
  const double low = read.positive("low_freq_factor", rope.low_freq_factor);
  const double high = read.positive("high_freq_factor", rope.high_freq_factor);
  const auto original = static_cast<double>(read.original_length());
  const auto low_wavelength = static_cast<float>(original / low), high_wavelength = static_cast<float>(original / high);
  RotaryFrequencies result;
  for (const float power : rotary_powers(static_cast<float>(rope.rope_theta), head_dim)) {
    const float frequency = 1.0f / power;
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
    float scaled = wavelength > low_wavelength ? frequency / factor : frequency;
    if (!(wavelength < high_wavelength) && !(wavelength > low_wavelength)) {
      const float smooth =
          (static_cast<float>(original) / wavelength - static_cast<float>(low)) / static_cast<float>(high - low);
      scaled = (1.0f - smooth) * scaled / factor + smooth * scaled;
    }
    result.inv_freq.push_back(scaled);
  }
  return result;
}

}  // namespace detail

/// The frequencies of a rope type, in the float32 arithmetic of the reference. `sequence_length` (largest position + 1)
/// matters only for 'dynamic' and 'longrope'; 0 gives those of a new object. Throws Error that names the field for an
/// unknown type, and for a parameter that is missing or gives non-finite frequencies.
inline RotaryFrequencies rotary_frequencies(const RopeParameters& rope, index_t head_dim,
                                            std::int64_t max_position_embeddings, std::int64_t sequence_length = 0) {
  const detail::RopeReader read(rope, max_position_embeddings);
  const double theta = read.positive("rope_theta", rope.rope_theta);
  RotaryFrequencies result;
  if (read.is("default") || read.is("linear")) {
    const float factor = read.is("linear") ? static_cast<float>(read.factor()) : 1.0f;
    for (const float power : detail::rotary_powers(static_cast<float>(theta), head_dim))
      result.inv_freq.push_back(1.0f / power / factor);
  } else if (read.is("proportional")) {
    // As many as this share of the head has; the others do not rotate.
    const auto rotating =
        static_cast<std::size_t>(std::floor(rope.partial_rotary_factor * static_cast<double>(head_dim) / 2.0));
    const float factor = rope.has_factor ? static_cast<float>(read.factor()) : 1.0f;
    for (const float power : detail::rotary_powers(static_cast<float>(theta), head_dim))
      result.inv_freq.push_back(result.inv_freq.size() < rotating ? 1.0f / power / factor : 0.0f);
  } else if (read.is("dynamic")) {
    const float base = detail::dynamic_base(read, theta, head_dim, sequence_length);
    for (const float power : detail::rotary_powers(base, head_dim)) result.inv_freq.push_back(1.0f / power);
  } else if (read.is("yarn")) {
    result = detail::yarn_frequencies(read, rope, head_dim);
  } else if (read.is("longrope")) {
    result = detail::longrope_frequencies(read, rope, head_dim, sequence_length);
  } else if (read.is("llama3")) {
    result = detail::llama3_frequencies(read, rope, head_dim);
  } else {
    fail("rope_type '", rope.rope_type,
         "' is not known; supported: default, linear, dynamic, yarn, longrope, llama3, proportional");
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(result.inv_freq.begin(), result.inv_freq.end(), finite) || !finite(result.attention_scaling))
    fail("the parameters of rope_type '", rope.rope_type, "' give frequencies that are not finite");
  return result;
}

/// The frequencies of one model over its calls (dynamic_rope_update). Those of 'dynamic' and 'longrope' depend on the
/// largest position of a call; 'dynamic' remembers the longest call until one fits max_position_embeddings again.
class RotaryEmbedding {
 public:
  /// Without frequencies, until one is assigned.
  RotaryEmbedding() = default;

  /// Throws Error as rotary_frequencies.
  RotaryEmbedding(const RopeParameters& rope, index_t head_dim, std::int64_t max_position_embeddings)
      : rope_(rope),
        head_dim_(head_dim),
        max_position_embeddings_(max_position_embeddings),
        frequencies_(rotary_frequencies(rope, head_dim, max_position_embeddings)),
        dynamic_(rope.rope_type == "dynamic") {
    if (rope.rope_type == "longrope") {
      original_ = detail::RopeReader(rope, max_position_embeddings).original_length();
      rotary_frequencies(rope, head_dim, max_position_embeddings, original_ + 1);  // checks them now
    }
  }

  const RotaryFrequencies& frequencies() const { return frequencies_; }

  /// Prepares for a call whose largest position over all axes is sequence_length - 1. Returns whether the frequencies
  /// changed.
  bool update(std::int64_t sequence_length) {
    std::int64_t wanted = scaled_to_;
    if (dynamic_) {
      if (sequence_length > std::max(scaled_to_, max_position_embeddings_)) wanted = sequence_length;
      // An input of exactly max_position_embeddings keeps the frequencies of a longer one, as in the reference.
      if (sequence_length < max_position_embeddings_) wanted = 0;
    } else if (original_ > 0) {
      wanted = sequence_length > original_ ? original_ + 1 : 0;
    }
    if (wanted == scaled_to_) return false;
    frequencies_ = rotary_frequencies(rope_, head_dim_, max_position_embeddings_, wanted);
    scaled_to_ = wanted;
    return true;
  }

 private:
  RopeParameters rope_;
  index_t head_dim_ = 0;
  std::int64_t max_position_embeddings_ = 0;
  RotaryFrequencies frequencies_;
  bool dynamic_ = false;
  std::int64_t original_ = 0;   // of longrope, else 0
  std::int64_t scaled_to_ = 0;  // the sequence length that frequencies_ are for; 0: a new object's
};

}  // namespace qwen3vl
