// Reading config.json: released models, both styles of transformers, defaults, and files that are wrong or
// inconsistent.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE config_json
#include "qwen3vl/config/config_json.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/released.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
using test::fails_with;

namespace {

const std::string models = QWEN3VL_TEST_DATA "/golden/models/";
const std::string released = QWEN3VL_TEST_DATA "/assets/configs/";

CheckpointConfig read(const json& config) { return config_from_json(config, "config.json"); }

struct Warned {
  CheckpointConfig config;
  std::vector<std::string> warnings;
};
Warned warned(const json& config) {
  Warned result;
  result.config =
      config_from_json(config, "config.json", [&](const std::string& text) { result.warnings.push_back(text); });
  return result;
}

// Two configs are the same model: names every field that is not equal.
void check_same(const ModelConfig& a, const ModelConfig& b, const std::string& name) {
  for (const ConfigDifference& d : compare(a, b))
    BOOST_ERROR(name << ": " << d.field << " is " << d.checkpoint << ", wanted " << d.variant);
  BOOST_TEST((a == b), name);
}

void check_same(const RopeParameters& a, const RopeParameters& b, const std::string& name) {
  BOOST_TEST_CONTEXT(name) {
    BOOST_TEST(a.rope_type == b.rope_type);
    BOOST_TEST(a.rope_theta == b.rope_theta);
    BOOST_TEST(a.factor == b.factor);
    BOOST_TEST(a.has_factor == b.has_factor);
    BOOST_TEST(a.attention_factor == b.attention_factor);
    BOOST_TEST(a.has_attention_factor == b.has_attention_factor);
    BOOST_TEST(a.beta_fast == b.beta_fast);
    BOOST_TEST(a.beta_slow == b.beta_slow);
    BOOST_TEST(a.mscale == b.mscale);
    BOOST_TEST(a.mscale_all_dim == b.mscale_all_dim);
    BOOST_TEST(a.truncate == b.truncate);
    BOOST_TEST(a.low_freq_factor == b.low_freq_factor);
    BOOST_TEST(a.high_freq_factor == b.high_freq_factor);
    BOOST_TEST(a.original_max_position_embeddings == b.original_max_position_embeddings);
    BOOST_TEST(a.short_factor == b.short_factor, boost::test_tools::per_element());
    BOOST_TEST(a.long_factor == b.long_factor, boost::test_tools::per_element());
  }
}

void check_same(const RuntimeConfig& a, const RuntimeConfig& b, const std::string& name) {
  check_same(a.rope, b.rope, name);
  BOOST_TEST_CONTEXT(name) {
    BOOST_TEST(a.vision_rope_theta == b.vision_rope_theta);
    BOOST_TEST(a.rms_norm_eps == b.rms_norm_eps);
    BOOST_TEST(a.max_position_embeddings == b.max_position_embeddings);
    BOOST_TEST(a.tokens.image_token_id == b.tokens.image_token_id);
    BOOST_TEST(a.tokens.video_token_id == b.tokens.video_token_id);
    BOOST_TEST(a.tokens.vision_start_token_id == b.tokens.vision_start_token_id);
    BOOST_TEST(a.tokens.vision_end_token_id == b.tokens.vision_end_token_id);
    BOOST_TEST(a.eos_token_id == b.eos_token_id, boost::test_tools::per_element());
    BOOST_TEST(a.bos_token_id == b.bos_token_id);
    BOOST_TEST(a.pad_token_id == b.pad_token_id);
  }
}

ModelConfig released_moe(TextConfig text) {
  text.moe.num_experts = 128;
  text.moe.num_experts_per_tok = 8;
  return {.vision = detail::large_vision_tower(text.hidden_size), .text = text};
}

// The smallest files that are valid: all else is defaults, and vision must fit text.
json dense() { return json::parse(R"({"model_type":"qwen3_vl","vision_config":{"out_hidden_size":4096}})"); }
json moe() { return json::parse(R"({"model_type":"qwen3_vl_moe","vision_config":{"out_hidden_size":2048}})"); }

// dense() with one field set; `path` is a JSON pointer and `value` JSON text.
json with(json config, const std::string& path, const std::string& value) {
  config[json::json_pointer(path)] = json::parse(value);
  return config;
}

}  // namespace

BOOST_AUTO_TEST_CASE(released_models) {
  check_same(Qwen3VL_2B::config, read_config(released + "2b.json").model, "2b");
  check_same(Qwen3VL_4B::config, read_config(released + "4b.json").model, "4b");
  check_same(Qwen3VL_8B::config, read_config(released + "8b.json").model, "8b");
  check_same(Qwen3VL_32B::config, read_config(released + "32b.json").model, "32b");
  check_same(released_moe({.hidden_size = 2048,
                           .intermediate_size = 6144,
                           .num_hidden_layers = 48,
                           .num_attention_heads = 32,
                           .num_key_value_heads = 4,
                           .moe = {.moe_intermediate_size = 768}}),
             read_config(released + "30b-a3b.json").model, "30b-a3b");
  check_same(released_moe({.hidden_size = 4096,
                           .intermediate_size = 12288,
                           .num_hidden_layers = 94,
                           .num_attention_heads = 64,
                           .num_key_value_heads = 4,
                           .moe = {.moe_intermediate_size = 1536}}),
             read_config(released + "235b-a22b.json").model, "235b-a22b");
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(released)) {
    if (entry.path().extension() != ".json") continue;
    RuntimeConfig wanted;
    wanted.rope.rope_theta = 5e6;
    wanted.max_position_embeddings = 262144;
    wanted.eos_token_id = {151645};
    wanted.bos_token_id = 151643;
    check_same(wanted, read_config(entry.path()).runtime, entry.path().string());
    ++count;
  }
  BOOST_TEST(count == 6);
}

BOOST_AUTO_TEST_CASE(both_styles_of_the_golden_models) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(models)) {
    const std::string folder = entry.path().string();
    const CheckpointConfig old_style = read_config(folder + "/config.json");
    BOOST_TEST(validate(old_style.model) == nullptr);
    if (!std::filesystem::exists(folder + "/config.v5.json")) continue;
    const CheckpointConfig new_style = read_config(folder + "/config.v5.json");
    check_same(old_style.model, new_style.model, folder);
    check_same(old_style.runtime, new_style.runtime, folder);
    ++count;
  }
  BOOST_TEST(count >= 4);
  // As transformers 5 saves it, with num_local_experts.
  check_same(read_config(models + "moe_step/config.json").model, read_config(models + "moe_step_v5/config.json").model,
             "moe_step_v5");
}

BOOST_AUTO_TEST_CASE(every_field_of_a_golden_model) {
  const CheckpointConfig step = read_config(models + "moe_step/config.json");
  check_same({.vision = {.depth = 3,
                         .hidden_size = 16,
                         .intermediate_size = 40,
                         .num_heads = 2,
                         .in_channels = 3,
                         .patch_size = 8,
                         .spatial_merge_size = 3,
                         .temporal_patch_size = 1,
                         .out_hidden_size = 48,
                         .num_position_embeddings = 100,
                         .deepstack_visual_indexes = {1},
                         .hidden_act = Activation::gelu},
              .text = {.vocab_size = 256,
                       .hidden_size = 48,
                       .intermediate_size = 96,
                       .num_hidden_layers = 5,
                       .num_attention_heads = 4,
                       .num_key_value_heads = 1,
                       .head_dim = 32,
                       .attention_bias = false,
                       .mrope_section = {6, 6, 4},
                       .moe = {.num_experts = 16,
                               .num_experts_per_tok = 4,
                               .moe_intermediate_size = 20,
                               .decoder_sparse_step = 2}},
              .tie_word_embeddings = true},
             step.model, "moe_step");
  BOOST_TEST(!step.model.text.is_sparse(0));
  BOOST_TEST(step.model.text.is_sparse(1));
  RuntimeConfig runtime;
  runtime.rope.rope_theta = 10000;
  runtime.max_position_embeddings = 1024;
  runtime.tokens = {
      .image_token_id = 250, .video_token_id = 251, .vision_start_token_id = 248, .vision_end_token_id = 249};
  runtime.eos_token_id = {247};
  runtime.bos_token_id = 246;
  check_same(runtime, step.runtime, "moe_step");
  const CheckpointConfig wide = read_config(models + "dense_wide/config.json");
  BOOST_TEST(wide.model.text.attention_bias);
  BOOST_TEST(!wide.model.tie_word_embeddings);
  BOOST_TEST((wide.model.vision.deepstack_visual_indexes == IndexList<16>{1, 2, 3}));
  BOOST_TEST((read_config(models + "moe_small/config.json").model.text.moe.mlp_only_layers == IndexList<128>{1}));
}

BOOST_AUTO_TEST_CASE(rope_types_of_the_golden_models) {
  const auto rope = [](const char* type) { return read_config(models + "dense_small/config.rope_" + type + ".json"); };
  RopeParameters wanted;
  wanted.rope_theta = 5e6;
  wanted.rope_type = "linear";
  wanted.factor = 2.5;
  wanted.has_factor = true;
  check_same(wanted, rope("linear").runtime.rope, "linear");
  wanted.rope_type = "dynamic";
  wanted.factor = 3;
  check_same(wanted, rope("dynamic").runtime.rope, "dynamic");
  BOOST_TEST(rope("dynamic").runtime.max_position_embeddings == 16);
  wanted.rope_type = "llama3";
  wanted.factor = 8;
  wanted.low_freq_factor = 1;
  wanted.high_freq_factor = 4;
  wanted.original_max_position_embeddings = 64;
  check_same(wanted, rope("llama3").runtime.rope, "llama3");
  // The other two, field by field against the file.
  for (const char* type : {"yarn", "longrope"}) {
    const json file = read_json_file(models + "dense_small/config.rope_" + type + ".json");
    const json& scaling = file["text_config"]["rope_scaling"];
    const RopeParameters found = rope(type).runtime.rope;
    BOOST_TEST(found.rope_type == type);
    BOOST_TEST(scaling.size() > 3u);
    for (const auto& [name, value] : scaling.items()) {
      BOOST_TEST_CONTEXT(type << " " << name) {
        if (name == "factor") {
          BOOST_TEST(found.factor == value.get<double>());
        } else if (name == "original_max_position_embeddings") {
          BOOST_TEST(found.original_max_position_embeddings == value.get<std::int64_t>());
        } else if (name == "short_factor") {
          BOOST_TEST(found.short_factor == value.get<std::vector<double>>(), boost::test_tools::per_element());
          BOOST_TEST(found.short_factor.size() == 16u);
        } else if (name == "long_factor") {
          BOOST_TEST(found.long_factor == value.get<std::vector<double>>(), boost::test_tools::per_element());
        } else if (name == "beta_fast") {
          BOOST_TEST(found.beta_fast == value.get<double>());
        } else if (name == "beta_slow") {
          BOOST_TEST(found.beta_slow == value.get<double>());
        } else if (name == "attention_factor") {
          BOOST_TEST((found.has_attention_factor && found.attention_factor == value.get<double>()));
        } else {
          BOOST_TEST((name == "rope_type" || name == "mrope_section" || name == "mrope_interleaved"), "not checked");
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_rope_field_in_both_styles) {
  // The golden files have defaults in some of them.
  RopeParameters wanted;
  wanted.rope_type = "yarn";
  wanted.rope_theta = 123.5;
  wanted.factor = 2.25;
  wanted.has_factor = true;
  wanted.attention_factor = 1.25;
  wanted.has_attention_factor = true;
  wanted.beta_fast = 31;
  wanted.beta_slow = 1.5;
  wanted.mscale = 0.7;
  wanted.mscale_all_dim = 0.8;
  wanted.truncate = false;
  wanted.low_freq_factor = 1.1;
  wanted.high_freq_factor = 4.4;
  wanted.original_max_position_embeddings = 777;
  wanted.short_factor = {1, 2.5};
  wanted.long_factor = {3};
  const char* const fields = R"({"rope_type":"yarn","rope_theta":123.5,"factor":2.25,"attention_factor":1.25,
      "beta_fast":31,"beta_slow":1.5,"mscale":0.7,"mscale_all_dim":0.8,"truncate":false,"low_freq_factor":1.1,
      "high_freq_factor":4.4,"original_max_position_embeddings":777,"short_factor":[1,2.5],"long_factor":[3]})";
  for (const char* style : {"/text_config/rope_scaling", "/text_config/rope_parameters"})
    check_same(wanted, read(with(dense(), style, fields)).runtime.rope, style);
}

BOOST_AUTO_TEST_CASE(lengths_that_rope_types_start_from) {
  const auto rope = [](const char* text_config) {
    return read(with(dense(), "/text_config", text_config)).runtime.rope;
  };
  // Beside the rope parameters, the original length counts before the one inside (standardize_rope_params).
  const RopeParameters beside = rope(R"({"original_max_position_embeddings":99,"rope_scaling":{"rope_type":"yarn",
      "factor":2,"original_max_position_embeddings":88}})");
  BOOST_TEST(beside.original_max_position_embeddings == 99);
  BOOST_TEST(rope(R"({"rope_scaling":{"rope_type":"yarn","factor":2}})").original_max_position_embeddings == 0);
  // YaRN's factor may be null, which is not the same as missing.
  const RopeParameters by_lengths = rope(R"({"max_position_embeddings":600,"rope_scaling":{"rope_type":"yarn",
      "factor":null,"original_max_position_embeddings":400}})");
  BOOST_TEST(by_lengths.has_factor);
  BOOST_TEST(by_lengths.factor == 1.5);
  BOOST_TEST(rope(R"({"rope_scaling":{"rope_type":"yarn","factor":null}})").factor == 1.0);
  BOOST_TEST(!rope(R"({"rope_scaling":{"rope_type":"yarn","original_max_position_embeddings":400}})").has_factor);
  BOOST_TEST(!rope(R"({"rope_scaling":{"rope_type":"linear","factor":null}})").has_factor);
  const RopeParameters absent = rope(R"({"rope_scaling":{"rope_type":"llama3","factor":2}})");
  BOOST_TEST(absent.low_freq_factor == 0.0);
  BOOST_TEST(absent.high_freq_factor == 0.0);
  BOOST_TEST(rope(R"({"rope_scaling":{"rope_type":"a\nb"}})").rope_type == "a?b");
}

BOOST_AUTO_TEST_CASE(defaults) {
  // Qwen3VLTextConfig, Qwen3VLVisionConfig: the default member values of the structs.
  const CheckpointConfig config = read(dense());
  check_same({.vision = {.out_hidden_size = 4096}}, config.model, "dense");
  check_same(RuntimeConfig{}, config.runtime, "dense");
  const TextConfig& text = config.model.text;
  BOOST_TEST(text.hidden_size == 4096);
  BOOST_TEST(text.intermediate_size == 22016);
  BOOST_TEST(text.num_hidden_layers == 32);
  BOOST_TEST(text.num_key_value_heads == 32);
  BOOST_TEST(text.head_dim == 128);
  BOOST_TEST(text.mrope_section[0] == 24);
  BOOST_TEST(text.mrope_section[2] == 20);
  BOOST_TEST(config.model.vision.depth == 27);
  BOOST_TEST(config.runtime.rope.rope_theta == 500000.0);
  BOOST_TEST(config.runtime.vision_rope_theta == 10000.0);
  BOOST_TEST(config.runtime.max_position_embeddings == 128000);
  BOOST_TEST(config.runtime.rms_norm_eps == 1e-6f);
  BOOST_TEST(config.runtime.eos_token_id.empty());

  // Qwen3VLMoeTextConfig
  check_same({.vision = {.out_hidden_size = 2048},
              .text = {.hidden_size = 2048,
                       .intermediate_size = 5632,
                       .num_hidden_layers = 24,
                       .num_attention_heads = 16,
                       .num_key_value_heads = 16,
                       .moe = {.num_experts = 60, .num_experts_per_tok = 4, .moe_intermediate_size = 1408}}},
             read(moe()).model, "moe");
  // The default of out_hidden_size itself does not fit the default text model.
  BOOST_TEST(fails_with([] { read({{"model_type", "qwen3_vl"}}); }, "out_hidden_size must equal"));
  // null is the default, too.
  json nulls = dense();
  nulls["text_config"] = nullptr;
  nulls["tie_word_embeddings"] = nullptr;
  nulls["vision_config"]["depth"] = nullptr;
  nulls["architectures"] = nullptr;
  check_same(config.model, read(nulls).model, "nulls");
}

BOOST_AUTO_TEST_CASE(only_the_outer_tie_counts) {
  BOOST_TEST(!read(with(dense(), "/text_config/tie_word_embeddings", "true")).model.tie_word_embeddings);
  BOOST_TEST(read(with(dense(), "/tie_word_embeddings", "true")).model.tie_word_embeddings);
}

BOOST_AUTO_TEST_CASE(heads) {
  // Dense: 128 whatever the hidden size; MoE: an equal share, as for an explicit null.
  const auto sections = [](json config) {
    return with(config, "/text_config/rope_scaling", R"({"mrope_section":[12,10,10]})");
  };
  BOOST_TEST(read(with(dense(), "/text_config/num_attention_heads", "64")).model.text.head_dim == 128);
  BOOST_TEST(read(with(sections(moe()), "/text_config/num_attention_heads", "32")).model.text.head_dim == 64);
  json null_heads = with(sections(dense()), "/text_config/num_attention_heads", "64");
  null_heads["text_config"]["head_dim"] = nullptr;
  null_heads["text_config"]["num_key_value_heads"] = nullptr;
  BOOST_TEST(read(null_heads).model.text.head_dim == 64);
  BOOST_TEST(read(null_heads).model.text.num_key_value_heads == 64);
}

BOOST_AUTO_TEST_CASE(names_of_the_number_of_experts) {
  BOOST_TEST(read(with(moe(), "/text_config/num_experts", "8")).model.text.moe.num_experts == 8);
  BOOST_TEST(read(with(moe(), "/text_config/num_local_experts", "8")).model.text.moe.num_experts == 8);
  // A dense model has none, whatever its file says.
  BOOST_TEST(read(with(dense(), "/text_config/num_experts", "8")).model.text.moe.num_experts == 0);
}

BOOST_AUTO_TEST_CASE(where_rope_theta_stands) {
  const auto theta = [](const char* text_config) {
    return read(with(dense(), "/text_config", text_config)).runtime.rope.rope_theta;
  };
  BOOST_TEST(theta(R"({"rope_theta":7})") == 7.0);
  BOOST_TEST(theta(R"({"rope_parameters":{"rope_theta":7.5}})") == 7.5);
  BOOST_TEST(theta(R"({"rope_theta":7,"rope_parameters":{"rope_theta":8}})") == 8.0);
  BOOST_TEST(theta(R"({"rope_theta":7,"rope_parameters":{"rope_type":"default"}})") == 7.0);
  BOOST_TEST(theta(R"({"rope_scaling":{"factor":2},"rope_parameters":{"rope_theta":8}})") == 500000.0);
  BOOST_TEST(theta(R"({"rope_scaling":{},"rope_parameters":{"rope_theta":8}})") == 8.0);
  BOOST_TEST(theta(R"({"rope_scaling":null,"rope_parameters":{"rope_theta":8}})") == 8.0);
  const auto type = [](const char* scaling) {
    return read(with(dense(), "/text_config/rope_scaling", scaling)).runtime.rope.rope_type;
  };
  BOOST_TEST(type(R"({"type":"yarn","factor":2})") == "yarn");
  BOOST_TEST(type(R"({"type":"yarn","rope_type":"linear","factor":2})") == "linear");
  BOOST_TEST(type(R"({"type":"mrope"})") == "default");
  BOOST_TEST(type(R"({"rope_type":"of tomorrow"})") == "of tomorrow");  // refused where the table is built
  const RopeParameters zero_betas =
      read(with(dense(), "/text_config/rope_scaling", R"({"beta_fast":0,"beta_slow":0})")).runtime.rope;
  BOOST_TEST(zero_betas.beta_fast == 32.0);
  BOOST_TEST(zero_betas.beta_slow == 1.0);
  const auto vision = [](const char* beside, const char* name = "rope_parameters", const char* inside = "null") {
    const json config = with(dense(), "/vision_config/rope_theta", beside);
    return read(with(config, concat("/vision_config/", name), inside)).runtime.vision_rope_theta;
  };
  BOOST_TEST(vision("null") == 10000.0);
  BOOST_TEST(vision("500") == 500.0);
  BOOST_TEST(vision("null", "rope_parameters", R"({"rope_theta":77,"rope_type":"axial"})") == 77.0);
  BOOST_TEST(vision("500", "rope_parameters", R"({"rope_theta":77})") == 77.0);
  BOOST_TEST(vision("500", "rope_parameters", R"({"type":"axial"})") == 500.0);
  BOOST_TEST(vision("500", "rope_scaling", R"({"rope_theta":5})") == 5.0);
  BOOST_TEST(vision("500", "rope_scaling", "{}") == 500.0);
  BOOST_TEST(vision("null", "rope_scaling", R"({"type":"linear","rope_type":"axial"})") == 10000.0);
  BOOST_TEST(fails_with([&] { vision("null", "rope_scaling", R"({"type":"linear","factor":2})"); },
                        "vision_config.rope_scaling.type is \"linear\", wanted axial"));
}

// As Qwen3VLConfig and Qwen3VLMoeConfig of transformers 5.24 read them.
BOOST_AUTO_TEST_CASE(fields_of_the_vision_towers_rope) {
  const auto theta = [](const char* vision) {
    json config = dense();
    config["vision_config"].update(json::parse(vision));
    return warned(config).config.runtime.vision_rope_theta;
  };
  BOOST_TEST(theta(R"({"rope_theta":500})") == 500.0);
  BOOST_TEST(theta(R"({"rope_theta":500,"rope_parameters":{"rope_theta":3,"rope_type":"axial"}})") == 3.0);
  BOOST_TEST(theta(R"({"rope_theta":500,"rope_scaling":{"type":"default"},"rope_parameters":{"rope_theta":3}})") ==
             500.0);
  BOOST_TEST(theta(R"({"rope_scaling":{"rope_theta":7}})") == 7.0);
  const Warned partial = warned(with(dense(), "/vision_config/partial_rotary_factor", "0.5"));
  BOOST_REQUIRE(partial.warnings.size() == 1u);
  BOOST_TEST(partial.warnings[0] ==
             "config.json: vision_config.partial_rotary_factor has no effect in the vision tower, as in transformers");
}

BOOST_AUTO_TEST_CASE(partial_rotation) {
  const auto rope = [](const char* text) { return warned(with(dense(), "/text_config", text)); };
  const Warned ignored = rope(R"({"partial_rotary_factor":0.5})");
  BOOST_TEST(ignored.config.runtime.rope.partial_rotary_factor == 1.0);
  BOOST_REQUIRE(ignored.warnings.size() == 1u);
  BOOST_TEST(ignored.warnings[0] ==
             "config.json: text_config.partial_rotary_factor has no effect with the rope_type 'default', as in "
             "transformers");
  const Warned inside =
      rope(R"({"partial_rotary_factor":0.5,"rope_scaling":{"rope_type":"proportional","partial_rotary_factor":0.25}})");
  BOOST_TEST(inside.config.runtime.rope.partial_rotary_factor == 0.25);
  BOOST_TEST(inside.warnings.empty());
  BOOST_TEST(rope(R"({"partial_rotary_factor":0.5,"rope_scaling":{"rope_type":"proportional"}})")
                 .config.runtime.rope.partial_rotary_factor == 0.5);
}

BOOST_AUTO_TEST_CASE(router_logits_by_default) {
  BOOST_TEST(!read(moe()).runtime.output_router_logits);
  BOOST_TEST(read(with(moe(), "/text_config/output_router_logits", "true")).runtime.output_router_logits);
  BOOST_TEST(!read(with(dense(), "/text_config/output_router_logits", "true")).runtime.output_router_logits);
}

BOOST_AUTO_TEST_CASE(token_ids) {
  BOOST_TEST(read(with(dense(), "/text_config/eos_token_id", "[5,6]")).runtime.eos_token_id ==
                 (std::vector<std::int32_t>{5, 6}),
             boost::test_tools::per_element());
  BOOST_TEST(read(with(dense(), "/text_config/eos_token_id", "null")).runtime.eos_token_id.empty());
  BOOST_TEST(read(with(dense(), "/text_config/pad_token_id", "9")).runtime.pad_token_id == 9);
  BOOST_TEST(read(with(dense(), "/text_config/pad_token_id", "null")).runtime.pad_token_id == -1);
}

BOOST_AUTO_TEST_CASE(other_models) {
  const auto refused = [](const char* config, const char* error) {
    return fails_with([&] { read(json::parse(config)); }, error);
  };
  BOOST_TEST(refused(R"({"model_type":"llama"})", "config.json describes a 'llama' model; qwen3vl runs qwen3_vl and"));
  BOOST_TEST(refused(R"({"model_type":"qwen2_5_vl"})", "'qwen2_5_vl' model"));
  BOOST_TEST(refused(R"({"model_type":"qwen3_vl_text"})", "'qwen3_vl_text' model"));
  BOOST_TEST(refused(R"({"model_type":"\u001b[2J\n"})", "'?[2J?' model"));
  BOOST_TEST(refused(R"({})", "has no model_type"));
  BOOST_TEST(refused(R"({"model_type":3})", "model_type is 3, wanted a string"));
  BOOST_TEST(refused(R"([])", "config.json is not a JSON object"));
  BOOST_TEST(refused(R"("qwen3_vl")", "not a JSON object"));
  json config = dense();
  for (const char* fine : {"null", "[]", R"(["Qwen3VLForConditionalGeneration"])", R"(["Qwen3VLModel"])",
                           R"(["X","Qwen3VLForConditionalGeneration"])"}) {
    const Warned read_fine = warned(with(config, "/architectures", fine));
    check_same(read(dense()).model, read_fine.config.model, fine);
    BOOST_TEST(read_fine.warnings.empty(), fine);
  }
  // transformers goes by model_type; what it takes in silence is a warning here.
  for (const char* other : {R"(["LlamaForCausalLM"])", R"(["Qwen3VLMoeForConditionalGeneration"])"}) {
    const Warned read_other = warned(with(config, "/architectures", other));
    check_same(read(dense()).model, read_other.config.model, other);
    BOOST_REQUIRE(read_other.warnings.size() == 1u);
    BOOST_TEST(read_other.warnings[0].find("read as Qwen3VLForConditionalGeneration, which its model_type says") !=
               std::string::npos);
  }
  for (const char* wrong : {"[1]", "\"x\"", "{}"})
    BOOST_TEST(fails_with([&] { read(with(config, "/architectures", wrong)); }, "wanted a list of names"), wrong);
  BOOST_TEST(fails_with([&] { read(with(config, "/transformers_weights", "\"other.safetensors\"")); },
                        "transformers_weights names another weight file"));
}

BOOST_AUTO_TEST_CASE(wrong_values) {
  struct Case {
    const char* path;
    const char* value;
    const char* error;
  };
  const Case cases[] = {
      {"/text_config", "[]", "text_config is not a JSON object"},
      {"/text_config", "7", "text_config is not a JSON object"},
      {"/vision_config", "\"x\"", "vision_config is not a JSON object"},
      {"/text_config/hidden_size", "\"4096\"", "text_config.hidden_size is \"4096\", wanted an integer from 0 to"},
      {"/text_config/hidden_size", "4096.0", "text_config.hidden_size is 4096.0, wanted an integer"},
      {"/text_config/hidden_size", "true", "wanted an integer"},
      {"/text_config/hidden_size", "[4096]", "wanted an integer"},
      {"/text_config/hidden_size", "{}", "wanted an integer"},
      {"/text_config/hidden_size", "-4096", "text_config.hidden_size is -4096, wanted an integer"},
      {"/text_config/hidden_size", "0", "intermediate_size and num_hidden_layers must be positive"},
      {"/text_config/hidden_size", "4294971392", "wanted an integer"},            // 2^32 + 4096
      {"/text_config/hidden_size", "18446744073709551615", "wanted an integer"},  // -1 as an unsigned number
      {"/text_config/hidden_size", "18446744073709555712", "wanted an integer"},  // becomes a double
      {"/text_config/num_hidden_layers", "2147483647", "wanted an integer from 0 to 4096"},
      {"/text_config/num_key_value_heads", "7", "must be a multiple of num_key_value_heads"},
      {"/text_config/num_key_value_heads", "0", "must be positive"},
      {"/text_config/num_attention_heads", "0", "must be positive"},
      {"/text_config/head_dim", "0", "must be positive"},
      {"/text_config/head_dim", "127", "must be even"},
      {"/text_config/head_dim", "64", "add up to head_dim / 2"},
      {"/text_config/attention_bias", "1", "wanted true or false"},
      {"/text_config/hidden_act", "\"gelu\"", "hidden_act must be silu"},
      {"/text_config/hidden_act", "\"relu\"", "text_config.hidden_act is \"relu\", wanted one of silu, gelu"},
      {"/text_config/hidden_act", "5", "wanted a string"},
      {"/vision_config/hidden_act", "\"silu\"", "vision_config: hidden_act must be gelu"},
      {"/vision_config/hidden_act", "\"quick_gelu\"", "vision_config.hidden_act is \"quick_gelu\""},
      {"/vision_config/depth", "2147483647", "wanted an integer from 0 to 4096"},
      {"/vision_config/num_heads", "7", "hidden_size must be a multiple of num_heads"},
      {"/vision_config/num_heads", "0", "must be positive"},
      {"/vision_config/num_position_embeddings", "2303", "must be a square"},
      {"/vision_config/num_position_embeddings", "0", "must be a square"},
      {"/vision_config/num_position_embeddings", "2147483647", "wanted an integer"},
      {"/vision_config/patch_size", "1000000", "wanted an integer"},
      {"/vision_config/patch_size", "[16,16]", "wanted an integer"},
      {"/vision_config/spatial_merge_size", "0", "must be positive"},
      {"/vision_config/temporal_patch_size", "-1", "wanted an integer"},
      {"/vision_config/out_hidden_size", "4097", "must equal text_config.hidden_size"},
      {"/vision_config/deepstack_visual_indexes", "[27]", "must be below depth"},
      {"/vision_config/deepstack_visual_indexes", "[-1]", "wanted an integer"},
      {"/vision_config/deepstack_visual_indexes", "[5,5]", "must ascend"},
      {"/vision_config/deepstack_visual_indexes", "[8,5]", "must ascend"},
      {"/vision_config/deepstack_visual_indexes", "8", "wanted a list of at most 16 layer indexes"},
      {"/vision_config/deepstack_visual_indexes", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", "at most 16"},
      {"/vision_config/deepstack_visual_indexes", "[\"8\"]", "wanted an integer"},
      {"/vision_config/rope_parameters", R"({"rope_theta":0})", "rope_theta must be positive"},
      {"/vision_config/rope_parameters", R"({"rope_type":"yarn"})", "rope_type is \"yarn\", wanted axial"},
      {"/text_config/rope_theta", "0", "rope_theta must be positive"},
      {"/text_config/rope_theta", "-5", "rope_theta must be positive"},
      {"/text_config/rope_theta", "\"5\"", "text_config.rope_theta is \"5\", wanted a number"},
      {"/text_config/rope_scaling", "7", "text_config.rope_scaling is not a JSON object"},
      {"/text_config/rope_scaling", R"({"mrope_section":[24,20]})", "wanted a list of three sizes"},
      {"/text_config/rope_scaling", R"({"mrope_section":[24,20,21]})", "add up to head_dim / 2"},
      {"/text_config/rope_scaling", R"({"mrope_section":[44,40,-20]})", "wanted an integer"},
      {"/text_config/rope_scaling", R"({"mrope_section":"24"})", "wanted a list of three sizes"},
      {"/text_config/rope_scaling", R"({"rope_type":7})", "text_config.rope_scaling.rope_type is 7"},
      {"/text_config/rope_scaling", R"({"factor":0})", "text_config.rope_scaling.factor is 0, wanted a positive"},
      {"/text_config/rope_scaling", R"({"factor":-2})", "wanted a positive"},
      {"/text_config/rope_scaling", R"({"factor":"2"})", "wanted a number"},
      {"/text_config/rope_scaling", R"({"rope_type":"linear","factor":2,"partial_rotary_factor":0.5})",
       "partial_rotary_factor is 0.5, wanted 1: with the rope_type 'linear'"},
      {"/text_config/rope_scaling", R"({"rope_type":"proportional","partial_rotary_factor":1.5})",
       "wanted a number from 0 to 1"},
      {"/text_config/rope_scaling", R"({"short_factor":[1,"2"]})", "wanted a list of 0 to 4096 numbers"},
      {"/text_config/rope_scaling", R"({"long_factor":2})", "wanted a list"},
      {"/text_config/rope_scaling", R"({"original_max_position_embeddings":0})", "wanted an integer from 1"},
      {"/text_config", R"({"partial_rotary_factor":0.25,"rope_scaling":{"rope_type":"yarn","factor":2}})",
       "text_config.partial_rotary_factor is 0.25"},
      {"/vision_config/rope_scaling", R"({"type":"yarn"})", "rope_scaling.type is \"yarn\", wanted axial"},
      {"/vision_config/rope_theta", "-1", "rope_theta must be positive"},
      {"/text_config/max_position_embeddings", "0", "wanted an integer from 1"},
      {"/text_config/max_position_embeddings", "-1", "wanted an integer from 1"},
      {"/text_config/rms_norm_eps", "-1e-6", "wanted a number from 0 to 1"},
      {"/text_config/rms_norm_eps", "1e300", "wanted a number from 0 to 1"},
      {"/text_config/eos_token_id", "-1", "text_config.eos_token_id is -1"},
      {"/text_config/eos_token_id", "[1,\"2\"]", "wanted an integer"},
      {"/text_config/eos_token_id", "4294967296", "wanted an integer"},
      {"/image_token_id", "-1", "image_token_id is -1, wanted an integer from 0"},
      {"/image_token_id", "1e3", "wanted an integer"},
      {"/tie_word_embeddings", "\"true\"", "tie_word_embeddings is \"true\", wanted true or false"},
  };
  for (const auto& c : cases)
    BOOST_TEST(fails_with([&] { read(with(dense(), c.path, c.value)); }, c.error), c.path << " " << c.value);

  const Case moe_cases[] = {
      {"/text_config/num_experts", "-1", "wanted an integer"},
      {"/text_config/num_experts", "3", "num_experts_per_tok must be between 1 and num_experts"},
      {"/text_config/num_local_experts", "\"8\"", "text_config.num_local_experts is"},
      {"/text_config/num_experts_per_tok", "0", "num_experts_per_tok must be between"},
      {"/text_config/moe_intermediate_size", "0", "moe_intermediate_size must be positive"},
      {"/text_config/decoder_sparse_step", "0", "decoder_sparse_step must be positive"},
      {"/text_config/mlp_only_layers", "[-1]", "wanted an integer"},
      {"/text_config/mlp_only_layers", "5", "wanted a list of at most 128"},
  };
  for (const auto& c : moe_cases)
    BOOST_TEST(fails_with([&] { read(with(moe(), c.path, c.value)); }, c.error), c.path << " " << c.value);
}

BOOST_AUTO_TEST_CASE(no_size_overflows) {
  // The largest sizes that pass must not overflow in the products of the structs.
  json config = dense();
  config["vision_config"].update(
      {{"patch_size", 1024}, {"in_channels", 16}, {"temporal_patch_size", 64}, {"spatial_merge_size", 64}});
  const VisionConfig vision = read(config).model.vision;
  BOOST_TEST(vision.patch_dim() == 1 << 30);
  BOOST_TEST(vision.merge_unit() == 4096);
  // A document built in C++ holds signed numbers where a parsed one has unsigned ones.
  config["text_config"]["hidden_size"] = std::int64_t{1} << 40;
  BOOST_TEST(fails_with([&] { read(config); }, "text_config.hidden_size is 1099511627776, wanted an integer"));
}

BOOST_AUTO_TEST_CASE(files_that_are_not_json) {
  const test::TemporaryFolder folder;
  const auto refused = [&](std::string_view text, const char* error) {
    return fails_with([&] { read_config(folder.write("config.json", text)); }, error);
  };
  BOOST_TEST(refused("", "config.json is not valid JSON"));
  BOOST_TEST(refused("{", "not valid JSON"));
  BOOST_TEST(refused("{}{}", "not valid JSON"));
  BOOST_TEST(refused("{\"model_type\":\"\xff\"}", "not valid JSON"));
  BOOST_TEST(refused(std::string_view("{}\0", 3), "zero byte"));
  BOOST_TEST(refused(std::string(100'000, '['), "nests deeper than 100"));
  BOOST_TEST(refused(R"({"model_type":"qwen3_vl","text_config":{"rope_theta":1e999}})", "not valid JSON"));
  BOOST_TEST(fails_with([&] { read_config(folder / "none.json"); }, "none.json: No such file"));
  BOOST_TEST(fails_with([&] { read_config(folder.path()); }, "it is not a file"));
  std::string whole = test::read_file(released + "2b.json");
  while (whole.back() != '}') whole.pop_back();
  for (std::size_t length = 0; length < whole.size(); length += 7)
    BOOST_TEST(refused(std::string_view(whole).substr(0, length), "not valid JSON"), length);
  // The last of two equal keys counts, as in Python.
  whole.insert(whole.size() - 1, R"(,"tie_word_embeddings":false)");
  BOOST_TEST(!read_config(folder.write("config.json", whole)).model.tie_word_embeddings);
}
