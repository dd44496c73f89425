// Rope types: YaRN against a double-precision twin up to a million positions, missing parameters, and state between
// calls. The numbers of all types are compared with the reference's in golden/cases/rope/types.json
// (parity/parity_rope.cpp).
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_rope
#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/text/rotary_embedding.hpp"

using namespace qwen3vl;

namespace {

constexpr index_t head_dim = 128, frequencies = head_dim / 2;

// Parameters that are complete for every type.
RopeParameters parameters(const std::string& type) {
  RopeParameters rope;
  rope.rope_type = type;
  rope.rope_theta = 5e6;
  rope.factor = 4.0;
  rope.has_factor = true;
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  rope.original_max_position_embeddings = 262144;
  for (int i = 0; i < frequencies; ++i) {
    rope.short_factor.push_back(1.0 + 0.01 * i);
    rope.long_factor.push_back(1.0 + 0.1 * i);
  }
  return rope;
}

// YaRN, from its formulae. Frequency i turns r_i = L theta_i / 2 pi times within the original length L. The indexes at
// which r is beta_fast and beta_slow bound a ramp; below it frequencies stay, above they are divided by s.
struct Yarn {
  std::vector<double> frequencies;
  double attention_factor;
};
Yarn yarn_reference(double theta, double s, double length, double beta_fast, double beta_slow) {
  const double two_pi = 6.283185307179586476925;
  const auto index_of = [&](double turns) {
    // L theta^(-2i/d) / 2 pi = turns, solved for i.
    return head_dim / 2.0 * std::log(length / (two_pi * turns)) / std::log(theta);
  };
  const double low = std::floor(index_of(beta_fast)), high = std::ceil(index_of(beta_slow));
  Yarn yarn;
  for (int i = 0; i < frequencies; ++i) {
    const double plain = std::pow(theta, -2.0 * i / head_dim);
    const double divided = i <= low ? 0.0 : i >= high ? 1.0 : (i - low) / (high - low);
    yarn.frequencies.push_back(plain * (1.0 - divided) + plain / s * divided);
  }
  yarn.attention_factor = 0.1 * std::log(s) + 1.0;
  return yarn;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

BOOST_AUTO_TEST_CASE(yarn_equals_its_formulae_up_to_a_million_positions) {
  const RopeParameters rope = parameters("yarn");
  const RotaryFrequencies found = rotary_frequencies(rope, head_dim, 1048576);
  const Yarn wanted = yarn_reference(5e6, 4.0, 262144, 32, 1);
  BOOST_TEST(std::abs(found.attention_scaling - wanted.attention_factor) < 1e-7);

  // A float32 power of an exponent that is itself rounded, a reciprocal, and up to five operations of the ramp.
  const double eps = std::ldexp(1.0, -24);
  const auto frequency_error = [&](int i) { return eps * (8.0 + std::log(5e6) * 2.0 * i / head_dim); };
  bool divided = false, kept = false, between = false;
  for (int i = 0; i < frequencies; ++i) {
    const double exact = wanted.frequencies[static_cast<std::size_t>(i)], plain = std::pow(5e6, -2.0 * i / head_dim);
    BOOST_TEST(std::abs(found.inv_freq[static_cast<std::size_t>(i)] / exact - 1.0) < frequency_error(i), "index " << i);
    kept |= exact == plain;
    divided |= std::abs(exact / plain - 0.25) < 1e-12;
    between |= exact / plain > 0.3 && exact / plain < 0.9;
  }
  BOOST_TEST((kept && divided && between), "all three parts of the ramp are tested");

  std::vector<std::int32_t> positions;
  for (int i = 0; i < 20; ++i) positions.push_back(1 << i);
  for (const int position : {0, 3, 1000, 99'999, 262'143, 262'145, 500'009, 777'777, 999'999, 1'000'000})
    positions.push_back(position);
  const auto tokens = static_cast<index_t>(positions.size());
  std::vector<std::int32_t> ids;
  for (int axis = 0; axis < 3; ++axis) ids.insert(ids.end(), positions.begin(), positions.end());
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  Tensor<float, Cpu, dynamic, frequencies> cos(tokens), sin(tokens);
  rope_tables<24, 20, 20>(ctx, View<const std::int32_t, Cpu, 3, dynamic>(ids.data(), tokens),
                          View<const float, Cpu, frequencies>(found.inv_freq.data()), found.attention_scaling, cos,
                          sin);
  double largest = 0.0;
  for (index_t t = 0; t < tokens; ++t) {
    const double position = positions[static_cast<std::size_t>(t)];
    for (index_t i = 0; i < frequencies; ++i) {
      // What the reference computes: a float32 angle, then a correctly reduced cosine, then a float32 product.
      const float inv_freq = found.inv_freq[static_cast<std::size_t>(i)];
      const float angle = static_cast<float>(position) * inv_freq;
      const auto scale = static_cast<double>(found.attention_scaling);
      BOOST_TEST(std::abs(cos(t, i) - std::cos(static_cast<double>(angle)) * scale) < 3.0 * eps * scale);
      BOOST_TEST(std::abs(sin(t, i) - std::sin(static_cast<double>(angle)) * scale) < 3.0 * eps * scale);
      // How far that is from YaRN itself: the angle's roundings, which grow with the position.
      const double exact = position * wanted.frequencies[static_cast<std::size_t>(i)];
      const double bound = exact * (frequency_error(static_cast<int>(i)) + eps) + 6.0 * eps;
      const double error = std::abs(cos(t, i) - std::cos(exact) * wanted.attention_factor);
      BOOST_TEST(error <= bound * scale);
      BOOST_TEST(std::abs(sin(t, i) - std::sin(exact) * wanted.attention_factor) <= bound * scale);
      largest = std::max(largest, error);
    }
  }
  // float32 angles cost this much at a million positions, in the reference as here.
  BOOST_TEST_MESSAGE("largest error of a cosine at up to 1,000,000: " << largest);
  BOOST_TEST(largest < 0.1);
}

BOOST_AUTO_TEST_CASE(missing_and_unusable_parameters_are_named) {
  using Change = std::function<void(RopeParameters&)>;
  struct Case {
    const char* type;
    Change change;
    const char* message;
  };
  const Change no_factor = [](RopeParameters& rope) { rope.has_factor = false; };
  const Change no_low = [](RopeParameters& rope) { rope.low_freq_factor = 0; };
  const Change no_high = [](RopeParameters& rope) { rope.high_freq_factor = 0; };
  const Change short_list = [](RopeParameters& rope) { rope.short_factor.pop_back(); };
  const Change long_list = [](RopeParameters& rope) { rope.long_factor.push_back(1); };
  const Change no_short = [](RopeParameters& rope) { rope.short_factor.clear(); };
  const Change no_long = [](RopeParameters& rope) { rope.long_factor.clear(); };
  const Change zero_long = [](RopeParameters& rope) { rope.long_factor[5] = 0; };
  const Change zero_factor = [](RopeParameters& rope) { rope.factor = 0; };
  const Change negative_beta = [](RopeParameters& rope) { rope.beta_slow = -1; };
  const Change negative_original = [](RopeParameters& rope) { rope.original_max_position_embeddings = -1; };
  const Change theta_one = [](RopeParameters& rope) { rope.rope_theta = 1; };
  const Change theta_zero = [](RopeParameters& rope) { rope.rope_theta = 0; };
  const Change nothing = [](RopeParameters&) {};
  const Change one_original = [](RopeParameters& rope) { rope.original_max_position_embeddings = 1; };
  for (const Case& c : std::vector<Case>{
           {"linear", no_factor, "rope_type 'linear' needs 'factor'"},
           {"dynamic", no_factor, "rope_type 'dynamic' needs 'factor'"},
           {"yarn", no_factor, "rope_type 'yarn' needs 'factor'"},
           {"llama3", no_factor, "rope_type 'llama3' needs 'factor'"},
           {"llama3", no_low, "needs 'low_freq_factor'"},
           {"llama3", no_high, "needs 'high_freq_factor'"},
           {"longrope", no_short, "needs 'short_factor'"},
           {"longrope", no_long, "needs 'long_factor'"},
           {"longrope", short_list, "'short_factor' has 63 numbers, wanted 64"},
           {"longrope", long_list, "'long_factor' has 65 numbers, wanted 64"},
           {"longrope", zero_long, "not finite"},
           {"longrope", one_original, "'original_max_position_embeddings' must be larger than 1"},
           {"longrope", negative_original, "'original_max_position_embeddings'"},
           {"yarn", negative_original, "'original_max_position_embeddings'"},
           {"llama3", negative_original, "'original_max_position_embeddings'"},
           {"linear", zero_factor, "'factor' is 0, wanted a positive number"},
           {"yarn", negative_beta, "'beta_slow' is -1"},
           {"yarn", theta_one, "'rope_theta' must not be 1"},
           {"default", theta_zero, "'rope_theta' is 0"},
           {"axial", nothing, "rope_type 'axial' is not known; supported: default, linear"},
       }) {
    RopeParameters rope = parameters(c.type);
    c.change(rope);
    const std::string found = error_of([&] { RotaryEmbedding(rope, head_dim, 1048576); });
    BOOST_TEST(found.find(c.message) != std::string::npos, c.type << ": " << found << ", wanted " << c.message);
  }
  // Nothing of this is needed by a type that does not use it.
  for (const char* type : {"default", "linear"}) {
    RopeParameters rope = parameters(type);
    for (const Change& change : {no_low, no_high, no_short, no_long, negative_original}) change(rope);
    BOOST_TEST(error_of([&] { RotaryEmbedding(rope, head_dim, 0); }) == "no error");
  }
  for (const char* type : {"yarn", "longrope", "llama3", "dynamic"}) {
    RopeParameters rope = parameters(type);
    rope.original_max_position_embeddings = 0;
    BOOST_TEST(error_of([&] { RotaryEmbedding(rope, head_dim, 4096); }) == "no error");
    BOOST_TEST(error_of([&] { RotaryEmbedding(rope, head_dim, 0); }).find("max_position_embeddings") !=
               std::string::npos);
  }
  BOOST_TEST(error_of([&] { RotaryEmbedding(parameters("dynamic"), 2, 4096); }).find("head_dim") != std::string::npos);
}

// Qwen3VLTextRotaryEmbedding(Qwen3VLTextConfig(head_dim=..., rope_theta=..., rope_scaling=...)).inv_freq of
// transformers 5.24.
BOOST_AUTO_TEST_CASE(proportional_leaves_a_share_unrotated) {
  RopeParameters rope{.rope_type = "proportional", .rope_theta = 10000.0, .partial_rotary_factor = 0.5};
  BOOST_TEST(
      rotary_frequencies(rope, 16, 64).inv_freq ==
          (std::vector<float>{1.0f, 0.3162277638912201f, 0.10000000149011612f, 0.03162277862429619f, 0, 0, 0, 0}),
      boost::test_tools::per_element());
  rope.partial_rotary_factor = 0.3;
  rope.rope_theta = 1e6;
  rope.has_factor = true;
  rope.factor = 2.0;
  BOOST_TEST(
      rotary_frequencies(rope, 16, 64).inv_freq == (std::vector<float>{0.5f, 0.08891396969556808f, 0, 0, 0, 0, 0, 0}),
      boost::test_tools::per_element());
  rope.partial_rotary_factor = 0.0;
  BOOST_TEST(rotary_frequencies(rope, 12, 64).inv_freq == std::vector<float>(6), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(only_two_types_look_at_the_length) {
  for (const char* type : {"default", "linear", "yarn", "llama3"}) {
    RotaryEmbedding rotary(parameters(type), head_dim, 64);
    for (const std::int64_t length : {1, 64, 65, 1 << 20, 1}) BOOST_TEST(!rotary.update(length), type);
  }

  RotaryEmbedding dynamic_rope(parameters("dynamic"), head_dim, 64);
  const std::vector<float> plain = dynamic_rope.frequencies().inv_freq;
  BOOST_TEST(plain == rotary_frequencies(parameters("default"), head_dim, 64).inv_freq,
             boost::test_tools::per_element());
  BOOST_TEST(!dynamic_rope.update(64));
  BOOST_TEST(dynamic_rope.update(65));
  BOOST_TEST(dynamic_rope.update(100));
  const std::vector<float> grown = dynamic_rope.frequencies().inv_freq;
  // The base grows by (factor * length / longest - factor + 1) ^ (d / (d - 2)).
  const double base = 5e6 * std::pow(4.0 * 100 / 64 - 3.0, 128.0 / 126.0);
  for (std::size_t i = 0; i < grown.size(); ++i)
    BOOST_TEST(std::abs(grown[i] * std::pow(base, static_cast<double>(i) / 64.0) - 1.0) < 3e-6);
  BOOST_TEST(!dynamic_rope.update(70));
  BOOST_TEST(!dynamic_rope.update(64), "only an input shorter than max_position_embeddings resets");
  BOOST_TEST(dynamic_rope.frequencies().inv_freq == grown, boost::test_tools::per_element());
  BOOST_TEST(dynamic_rope.update(63));
  BOOST_TEST(dynamic_rope.frequencies().inv_freq == plain, boost::test_tools::per_element());

  RopeParameters rope = parameters("longrope");
  rope.original_max_position_embeddings = 16;
  RotaryEmbedding longrope(rope, head_dim, 64);
  BOOST_TEST(!longrope.update(16));
  const std::vector<float> by_short = longrope.frequencies().inv_freq;
  BOOST_TEST(longrope.update(17));
  BOOST_TEST(!longrope.update(1000));
  const std::vector<float> by_long = longrope.frequencies().inv_freq;
  for (std::size_t i = 0; i < by_long.size(); ++i)
    BOOST_TEST(std::abs(by_long[i] * rope.long_factor[i] / (by_short[i] * rope.short_factor[i]) - 1.0) < 1e-6);
  BOOST_TEST(longrope.update(3));
  BOOST_TEST(longrope.frequencies().inv_freq == by_short, boost::test_tools::per_element());
}
