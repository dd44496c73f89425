// The vision tower's layers against double-precision twins.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_vision
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cpu.hpp"
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
constexpr std::size_t merge = vision.spatial_merge_size;

// Sums of up to 576 products in float32, some thirty operations deep.
constexpr double tolerance = 2e-5;

struct Patch {
  std::size_t picture, frame;  // attention stays inside a frame
  double row, column;          // in patches
  double table_row, table_column;
};

// All patches in merge-block order.
std::vector<Patch> patches_of(const std::vector<GridThw>& grids) {
  std::vector<Patch> patches;
  std::size_t frames = 0;
  const double last = 6.0;
  for (std::size_t g = 0; g < grids.size(); ++g)
    for (std::int64_t t = 0; t < grids[g].t; ++t, ++frames)
      for (std::size_t block = 0; block < static_cast<std::size_t>(grids[g].h * grids[g].w) / (merge * merge); ++block)
        for (std::size_t inside = 0; inside < merge * merge; ++inside) {
          const std::size_t blocks_per_row = static_cast<std::size_t>(grids[g].w) / merge;
          const auto row = static_cast<double>(block / blocks_per_row * merge + inside / merge);
          const auto column = static_cast<double>(block % blocks_per_row * merge + inside % merge);
          const auto scale = [&](double position, std::int64_t count) {
            return count == 1 ? 0.0 : position * last / static_cast<double>(count - 1);
          };
          patches.push_back({g, frames, row, column, scale(row, grids[g].h), scale(column, grids[g].w)});
        }
  return patches;
}

ref::Rows block(const ref::Weights& w, const std::string& p, ref::Rows x, const std::vector<Patch>& patches) {
  const auto norm = [&](const std::string& name) {
    return [&w, name](const ref::Row& row) { return ref::layer_norm(row, w[name + ".weight"], w[name + ".bias"]); };
  };
  const std::size_t dim = vision.head_dim(), heads = vision.num_heads, hidden = vision.hidden_size;
  ref::Rows qkv = ref::linear(ref::each(x, norm(p + "norm1")), w[p + "attn.qkv.weight"], w[p + "attn.qkv.bias"]);
  for (std::size_t t = 0; t < qkv.size(); ++t) {
    ref::Row angles;
    for (const double position : {patches[t].row, patches[t].column})
      for (std::size_t i = 0; i < dim / 4; ++i)
        angles.push_back(position * std::pow(10000.0, -2.0 * static_cast<double>(i) / (static_cast<double>(dim) / 2)));
    for (std::size_t h = 0; h < 2 * heads; ++h) ref::rotate(qkv[t].data() + h * dim, angles);
  }
  ref::Rows attended;
  for (std::size_t t = 0; t < x.size(); ++t) {
    ref::Row row;
    for (std::size_t h = 0; h < heads; ++h) {
      ref::Rows keys, values;
      for (std::size_t s = 0; s < x.size(); ++s) {
        if (patches[s].frame != patches[t].frame) continue;
        keys.push_back(ref::head_of(qkv[s], heads + h, dim));
        values.push_back(ref::head_of(qkv[s], 2 * heads + h, dim));
      }
      const ref::Row out = ref::attend(ref::head_of(qkv[t], h, dim), keys, values);
      row.insert(row.end(), out.begin(), out.end());
    }
    attended.push_back(row);
  }
  ref::add(x, ref::linear(attended, w[p + "attn.proj.weight"], w[p + "attn.proj.bias"]));
  const ref::Rows inner = ref::map(
      ref::linear(ref::each(x, norm(p + "norm2")), w[p + "mlp.linear_fc1.weight"], w[p + "mlp.linear_fc1.bias"]),
      ref::gelu_tanh);
  ref::add(x, ref::linear(inner, w[p + "mlp.linear_fc2.weight"], w[p + "mlp.linear_fc2.bias"]));
  BOOST_REQUIRE(x[0].size() == hidden);
  return x;
}

ref::Rows merger(const ref::Weights& w, const std::string& p, const ref::Rows& x, bool norm_whole_group) {
  const auto norm = [&](const ref::Row& row) { return ref::layer_norm(row, w[p + "norm.weight"], w[p + "norm.bias"]); };
  ref::Rows groups;
  for (std::size_t t = 0; t < x.size(); t += merge * merge) {
    ref::Row group;
    for (std::size_t i = 0; i < merge * merge; ++i) {
      const ref::Row row = norm_whole_group ? x[t + i] : norm(x[t + i]);
      group.insert(group.end(), row.begin(), row.end());
    }
    groups.push_back(norm_whole_group ? norm(group) : group);
  }
  return ref::linear(ref::map(ref::linear(groups, w[p + "linear_fc1.weight"], w[p + "linear_fc1.bias"]), ref::gelu),
                     w[p + "linear_fc2.weight"], w[p + "linear_fc2.bias"]);
}

struct Fixture {
  Cpu cpu{2};
  Context<Cpu> ctx{cpu};
};

using BothAttentions = std::tuple<F32, WithAttention<F32, attention_policy::Eager>>;

}  // namespace

BOOST_FIXTURE_TEST_CASE_TEMPLATE(whole_tower_equals_its_formula, P, BothAttentions, Fixture) {
  VisionModel<Small, Cpu, P> model;
  const ref::Weights w = ref::randomize(ctx, model);
  // A square, a flat one, a tall one larger than the table, a video of two frames.
  const std::vector<GridThw> grids{{1, 4, 4}, {1, 2, 6}, {1, 10, 2}, {2, 2, 4}};
  const std::vector<Patch> patches = patches_of(grids);
  const ref::Rows pixels = ref::random_rows(patches.size(), vision.patch_dim(), 5);
  HostMatrix<float> pixel_values(static_cast<index_t>(patches.size()), vision.patch_dim());
  ref::fill(pixel_values.view(), pixels);

  const auto output = model.forward(ctx, pixel_values, grids, true, true);

  ref::Rows x = ref::linear(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"]);
  const ref::Row& table = w["pos_embed.weight"];
  for (std::size_t t = 0; t < x.size(); ++t) {
    const auto y0 = static_cast<std::size_t>(patches[t].table_row),
               x0 = static_cast<std::size_t>(patches[t].table_column);
    const double dy = patches[t].table_row - static_cast<double>(y0),
                 dx = patches[t].table_column - static_cast<double>(x0);
    const auto at = [&](std::size_t row, std::size_t column, std::size_t i) {
      return table[(std::min<std::size_t>(row, 6) * 7 + std::min<std::size_t>(column, 6)) * x[t].size() + i];
    };
    for (std::size_t i = 0; i < x[t].size(); ++i)
      x[t][i] += (1 - dy) * ((1 - dx) * at(y0, x0, i) + dx * at(y0, x0 + 1, i)) +
                 dy * ((1 - dx) * at(y0 + 1, x0, i) + dx * at(y0 + 1, x0 + 1, i));
  }
  BOOST_TEST(ref::relative_error(output.hidden_states.at(0), x) < tolerance);
  for (std::size_t i = 0; i < 3; ++i) {
    x = block(w, concat("blocks.", i, "."), x, patches);
    BOOST_TEST(ref::relative_error(output.hidden_states.at(i + 1), x) < tolerance);
    if (i == 0 || i == 2) {
      const std::size_t j = i / 2;
      const ref::Rows expected = merger(w, concat("deepstack_merger_list.", j, "."), x, true);
      BOOST_TEST(ref::relative_error(output.deepstack_features.at(j), expected) < tolerance);
    }
  }
  BOOST_TEST(ref::relative_error(output.pooler_output, merger(w, "merger.", x, false)) < tolerance);

  // One set of weights for each block and frame; each query's add up to one. backend_cpu_test checks their values.
  const std::vector<index_t> lengths{16, 12, 20, 8, 8};
  BOOST_REQUIRE(output.attentions.size() == 3u);
  for (const auto& of_block : output.attentions) {
    BOOST_REQUIRE(of_block.size() == lengths.size());
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const auto& weights = of_block[s];
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

BOOST_FIXTURE_TEST_CASE(attentions_are_recorded_only_if_asked_for, Fixture) {
  VisionModel<Small, Cpu, F32> model;
  ref::randomize(ctx, model);
  const HostMatrix<float> pixels(16, vision.patch_dim());
  BOOST_TEST(model.forward(ctx, pixels, std::vector<GridThw>{{1, 4, 4}}).attentions.empty());
}

BOOST_FIXTURE_TEST_CASE(a_picture_does_not_depend_on_its_neighbours, Fixture) {
  VisionModel<Small, Cpu, F32> model;
  ref::randomize(ctx, model);
  const ref::Rows pixels = ref::random_rows(16 + 12, vision.patch_dim(), 6);
  HostMatrix<float> both(28, vision.patch_dim());
  ref::fill(both.view(), pixels);
  const std::vector<GridThw> grids{{1, 4, 4}, {1, 2, 6}};
  const auto together = model.forward(ctx, both, grids);
  const auto alone = model.forward(ctx, both.slice(16, 12), std::span(grids).subspan(1));
  for (index_t t = 0; t < 3; ++t)
    for (index_t i = 0; i < 20; ++i)
      BOOST_TEST(together.pooler_output(4 + t, i) == alone.pooler_output(t, i), boost::test_tools::tolerance(1e-5f));
}

BOOST_FIXTURE_TEST_CASE(grids_and_pixels_that_do_not_fit_are_errors, Fixture) {
  VisionModel<Small, Cpu, F32> model;
  ref::randomize(ctx, model);
  const HostMatrix<float> pixels(16, vision.patch_dim());
  const auto message = [&](const HostMatrix<float>& values, const std::vector<GridThw>& grids) -> std::string {
    try {
      model.forward(ctx, values, grids);
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
