// Comparing a variant with a checkpoint: equal, or one message with every field that differs.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE config_compare
#include <boost/test/unit_test.hpp>
#include <set>
#include <string>
#include <vector>

#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/released.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

std::vector<std::string> fields(const ModelConfig& a, const ModelConfig& b) {
  std::vector<std::string> names;
  for (const ConfigDifference& d : compare(a, b)) names.push_back(d.field);
  return names;
}

ModelConfig moe_config() {
  ModelConfig config = Qwen3VL_2B::config;
  config.text.moe = {.num_experts = 8, .num_experts_per_tok = 2, .moe_intermediate_size = 64};
  return config;
}

void change(int& value) { ++value; }
void change(bool& value) { value = !value; }
void change(Activation& value) { value = value == Activation::gelu ? Activation::silu : Activation::gelu; }
void change(int (&list)[3]) { ++list[2]; }
template <std::size_t N>
void change(IndexList<N>& list) {
  list.push_back(20);
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_configs) {
  BOOST_TEST(fields(Qwen3VL_2B::config, Qwen3VL_2B::config).empty());
  BOOST_TEST(fields(moe_config(), moe_config()).empty());
  require_equal(Qwen3VL_2B::config, Qwen3VL_2B::config, "here");
}

BOOST_AUTO_TEST_CASE(every_field_is_compared_alone) {
  // Changes one field after the other and expects exactly its name.
  std::vector<std::string> names;
  ModelConfig all = moe_config();
  for_each_field([&](std::string_view section, std::string_view name,
                     auto&) { names.push_back(concat(section, section.empty() ? "" : ".", name)); },
                 true, all);
  BOOST_TEST(names.size() == 28u);
  BOOST_TEST(std::set<std::string>(names.begin(), names.end()).size() == names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    ModelConfig base = moe_config(), changed = moe_config();
    if (names[i] == "text_config.intermediate_size") {  // counts only where a layer is dense
      base.text.moe.decoder_sparse_step = changed.text.moe.decoder_sparse_step = 2;
    }
    std::size_t at = 0;
    for_each_field([&](std::string_view, std::string_view, auto& value) { at++ == i ? change(value) : void(); }, true,
                   changed);
    BOOST_TEST(!(base == changed), names[i]);
    BOOST_TEST(fields(base, changed) == std::vector<std::string>{names[i]}, boost::test_tools::per_element());
    BOOST_TEST(fields(changed, base) == std::vector<std::string>{names[i]}, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(no_field_is_forgotten) {
  // Visiting all fields of a default config and copying them must reproduce any config. This fails for a field that was
  // added to a struct but not to the list, because the copy then lacks it.
  const auto copy = [](const ModelConfig& from) {
    ModelConfig to;
    for_each_field(
        [](std::string_view, std::string_view, const auto& a, auto& b) {
          if constexpr (std::is_array_v<std::remove_reference_t<decltype(b)>>) {
            for (std::size_t i = 0; i < 3; ++i) b[i] = a[i];
          } else {
            b = a;
          }
        },
        true, from, to);
    return to;
  };
  ModelConfig changed = moe_config();
  for_each_field([](std::string_view, std::string_view, auto& value) { change(value); }, true, changed);
  BOOST_TEST((copy(changed) == changed));
  // The structs hold nothing beside the listed fields.
  static_assert(sizeof(VisionConfig) == 11 * sizeof(int) + sizeof(IndexList<16>) + 4 /* alignment */,
                "VisionConfig changed: list the new field in for_each_field");
  static_assert(sizeof(MoeConfig) == 4 * sizeof(int) + sizeof(IndexList<128>),
                "MoeConfig changed: list the new field in for_each_field");
  static_assert(sizeof(TextConfig) == 12 * sizeof(int) + sizeof(MoeConfig),
                "TextConfig changed: list the new field in for_each_field");
}

BOOST_AUTO_TEST_CASE(one_error_names_every_field) {
  const auto load = [] { require_equal(Qwen3VL_2B::config, Qwen3VL_8B::config, "some/config.json"); };
  for (const char* part :
       {"some/config.json does not fit the variant", "vision_config.depth: the variant has 24, the checkpoint 27;",
        "vision_config.deepstack_visual_indexes: the variant has [5, 11, 17], the checkpoint [8, 16, 24];",
        "text_config.hidden_size: the variant has 2048, the checkpoint 4096;",
        "text_config.num_hidden_layers: the variant has 28, the checkpoint 36;",
        "; tie_word_embeddings: the variant has true, the checkpoint false;", "qwen3vl_add_variant"})
    BOOST_TEST(fails_with(load, part), part);
  const std::vector<std::string> wanted{"vision_config.depth",
                                        "vision_config.hidden_size",
                                        "vision_config.intermediate_size",
                                        "vision_config.out_hidden_size",
                                        "vision_config.deepstack_visual_indexes",
                                        "text_config.hidden_size",
                                        "text_config.intermediate_size",
                                        "text_config.num_hidden_layers",
                                        "text_config.num_attention_heads",
                                        "tie_word_embeddings"};
  BOOST_TEST(fields(Qwen3VL_2B::config, Qwen3VL_8B::config) == wanted, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(activations_and_sections_are_named) {
  ModelConfig other = Qwen3VL_2B::config;
  other.vision.hidden_act = Activation::gelu;
  other.text.mrope_section[0] = 25;
  BOOST_TEST(fails_with([&] { require_equal(Qwen3VL_2B::config, other, "x"); },
                        "vision_config.hidden_act: the variant has gelu_pytorch_tanh, the checkpoint gelu; "
                        "text_config.mrope_section: the variant has [24, 20, 20], the checkpoint [25, 20, 20]"));
}

BOOST_AUTO_TEST_CASE(a_mixture_of_experts_is_not_dense) {
  const auto found = fields(Qwen3VL_2B::config, moe_config());
  BOOST_TEST(found == (std::vector<std::string>{"text_config.num_experts", "text_config.num_experts_per_tok",
                                                "text_config.moe_intermediate_size"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_dense_width_counts_only_where_a_layer_is_dense) {
  ModelConfig a = moe_config(), b = moe_config();
  b.text.intermediate_size += 64;
  BOOST_TEST(fields(a, b).empty());
  a.text.moe.mlp_only_layers = b.text.moe.mlp_only_layers = {3};
  BOOST_TEST(fields(a, b) == std::vector<std::string>{"text_config.intermediate_size"},
             boost::test_tools::per_element());
  a.text.moe.mlp_only_layers = b.text.moe.mlp_only_layers = {a.text.num_hidden_layers};  // no such layer
  BOOST_TEST(fields(a, b).empty());
}
