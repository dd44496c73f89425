// The vision tower's layers on Cpu against the same layers in double precision.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_vision
#include <boost/test/unit_test.hpp>

#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/vision/vision_model.hpp"
#include "support/layer_reference.hpp"

using namespace qwen3vl;
namespace ref = reference;

namespace {

// Heads of 72, as in the 8B's tower; other sizes odd.
struct Small {
  static constexpr ModelConfig config{.vision = {.depth = 3,
                                                 .hidden_size = 144,
                                                 .intermediate_size = 37,
                                                 .num_heads = 2,
                                                 .patch_size = 3,
                                                 .out_hidden_size = 20,
                                                 .num_position_embeddings = 49,
                                                 .deepstack_visual_indexes = {0, 2}},
                                      .text = {.vocab_size = 8,
                                               .hidden_size = 20,
                                               .intermediate_size = 4,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 1,
                                               .num_key_value_heads = 1,
                                               .head_dim = 6,
                                               .mrope_section = {1, 1, 1}},
                                      .tie_word_embeddings = true};
};
static_assert(Variant<Small>);
constexpr VisionConfig vision = Small::config.vision;

// Sums of up to 576 products in float32, some thirty operations deep.
constexpr double tolerance = 2e-5;

template <class P, class B>
auto forward(Context<B>& ctx, View<const float, Host, dynamic, dynamic> pixel_values, const std::vector<GridThw>& grids,
             bool everything = true) {
  VisionModel<Small, B, P> model;
  load_parameters(ctx, model, ref::AllRandom{}, "random weights");
  return model.forward(ctx, pixel_values, grids, everything, everything);
}

using BothAttentions = std::tuple<F32, WithAttention<F32, attention_policy::Eager>>;

}  // namespace

BOOST_FIXTURE_TEST_CASE_TEMPLATE(whole_tower_equals_its_formula, P, BothAttentions, ref::Backends) {
  // A square, a flat one, a tall one larger than the table, a video of two frames.
  const std::vector<GridThw> grids{{1, 4, 4}, {1, 2, 6}, {1, 10, 2}, {2, 2, 4}};
  const std::vector<index_t> lengths{16, 12, 20, 8, 8};  // of each frame
  const auto pixel_values = ref::random_numbers(HostMatrix<float>(64, vision.patch_dim()), 5);
  const auto found = forward<P>(cpu, pixel_values, grids);
  const auto wanted = forward<F32>(exact, pixel_values, grids);

  BOOST_REQUIRE((found.hidden_states.size() == 4u && wanted.hidden_states.size() == 4u));
  for (std::size_t i = 0; i < 4; ++i)
    BOOST_TEST(ref::relative_error(found.hidden_states[i], wanted.hidden_states[i]) < tolerance);
  for (std::size_t j = 0; j < 2; ++j)
    BOOST_TEST(ref::relative_error(found.deepstack_features[j], wanted.deepstack_features[j]) < tolerance);
  BOOST_TEST(ref::relative_error(found.pooler_output, wanted.pooler_output) < tolerance);

  // One set of weights for each block and frame; each query's add up to one.
  BOOST_REQUIRE((found.attentions.size() == 3u && wanted.attentions.size() == 3u));
  for (std::size_t i = 0; i < 3; ++i) {
    BOOST_REQUIRE((found.attentions[i].size() == lengths.size() && wanted.attentions[i].size() == lengths.size()));
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const auto& weights = found.attentions[i][s];
      BOOST_TEST(ref::relative_error(weights, wanted.attentions[i][s]) < tolerance);
      BOOST_REQUIRE((weights.extent(0) == vision.num_heads && weights.extent(1) == lengths[s] &&
                     weights.extent(2) == lengths[s]));
      for (index_t h = 0; h < vision.num_heads; ++h)
        for (index_t q = 0; q < lengths[s]; ++q) {
          double total = 0.0;
          for (index_t k = 0; k < lengths[s]; ++k) total += weights(h, q, k);
          BOOST_TEST(std::abs(total - 1.0) < 1e-6);
        }
    }
  }
}

BOOST_FIXTURE_TEST_CASE(attentions_are_recorded_only_if_asked_for, ref::Backends) {
  const HostMatrix<float> pixels(16, vision.patch_dim());
  BOOST_TEST(forward<F32>(cpu, pixels, {{1, 4, 4}}, false).attentions.empty());
}

BOOST_FIXTURE_TEST_CASE(an_image_does_not_depend_on_its_neighbours, ref::Backends) {
  const auto both = ref::random_numbers(HostMatrix<float>(28, vision.patch_dim()), 6);
  const auto together = forward<F32>(cpu, both, {{1, 4, 4}, {1, 2, 6}});
  const auto alone = forward<F32>(cpu, both.slice(16, 12), {{1, 2, 6}});
  for (index_t t = 0; t < 3; ++t)
    for (index_t i = 0; i < 20; ++i)
      BOOST_TEST(together.pooler_output(4 + t, i) == alone.pooler_output(t, i), boost::test_tools::tolerance(1e-5f));
}

BOOST_FIXTURE_TEST_CASE(grids_and_pixels_that_do_not_fit_are_errors, ref::Backends) {
  const HostMatrix<float> pixels(16, vision.patch_dim());
  const auto message = [&](const HostMatrix<float>& values, const std::vector<GridThw>& grids) -> std::string {
    try {
      forward<F32>(cpu, values, grids, false);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  BOOST_TEST(message(pixels, {{1, 4, 6}}) == "pixel_values has 16 patches, grid_thw says 24");
  BOOST_TEST(message(pixels, {{1, 16, 1}}).find("grid_thw[0] is (1, 16, 1)") == 0);
  BOOST_TEST(message(pixels, {{1, 4, 4}, {0, 2, 2}}).find("grid_thw[1]") == 0);
  BOOST_TEST(message(pixels, {{2, std::int64_t{1} << 62, 4}}).find("grid_thw[0] has more patches") == 0);
  BOOST_TEST(message(HostMatrix<float>(16, 18), {{1, 4, 4}}).find("pixel_values has 18 values per patch") == 0);
  BOOST_TEST(message(pixels, {{1, 4, 4}}) == "no error");
}
