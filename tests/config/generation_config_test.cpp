// generation_config.json from checkpoints and from attackers, and settings that generation must reject.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_config
#include "qwen3vl/config/generation_config.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/config/write_config.hpp"
#include "support/option_table.hpp"
#include "support/test_files.hpp"

namespace {

using namespace qwen3vl;
namespace fs = std::filesystem;

// A folder that is deleted at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "qwen3vl_generation_config_XXXXXX").string();
    BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  void write(const std::string& text) const {
    std::ofstream(path_ / "generation_config.json", std::ios::binary) << text;
  }

 private:
  fs::path path_;
};

GenerationConfig parsed(const std::string& text) {
  return generation_config_from_json(parse_json(text, "file.json"), "file.json");
}

// That `f` throws an Error that contains all `parts`, on one line.
template <class F>
void check_error(const F& f, const std::vector<std::string>& parts) {
  try {
    f();
    BOOST_ERROR("no error that says " << parts.back());
  } catch (const Error& error) {
    const std::string message = error.what();
    for (const auto& part : parts)
      BOOST_TEST(message.find(part) != std::string::npos, "'" << part << "' is not in: " << message);
    BOOST_TEST(message.find('\n') == std::string::npos);
    BOOST_TEST(message.size() < 400u);
  }
}

BOOST_AUTO_TEST_CASE(defaults_are_those_of_transformers) {
  const GenerationConfig config;
  BOOST_TEST(config.token_limit() == 20);
  BOOST_TEST(!config.do_sample);
  BOOST_TEST(config.temperature == 1.0f);
  BOOST_TEST(config.top_k == 50);
  BOOST_TEST(config.top_p == 1.0f);
  BOOST_TEST(config.min_p == 0.0f);
  BOOST_TEST(config.repetition_penalty == 1.0f);
  BOOST_TEST(config.no_repeat_ngram_size == 0);
  BOOST_TEST(config.num_beams == 1);
  BOOST_TEST(config.length_penalty == 1.0f);
  BOOST_TEST((config.early_stopping == EarlyStopping::no));
  BOOST_TEST(config.num_return_sequences == 1);
  BOOST_TEST(config.token_minimum() == 0);
  BOOST_TEST(config.prompt_lookup_num_tokens == 0);
  BOOST_TEST(config.max_matching_ngram_size == 2);
  BOOST_TEST(config.eos_token_id.empty());
  BOOST_TEST(!config.pad_token_id.has_value());
  BOOST_TEST(!config.bos_token_id.has_value());
  BOOST_TEST(!config.seed.has_value());
  BOOST_CHECK_NO_THROW(config.validate());
}

BOOST_AUTO_TEST_CASE(checkpoints) {
  const auto golden = read_generation_config(fs::path(QWEN3VL_TEST_DATA) / "golden/models/dense_small", {9});
  BOOST_TEST(golden.do_sample);
  BOOST_TEST(golden.temperature == 0.7f);
  BOOST_TEST(golden.top_k == 20);
  BOOST_TEST(golden.top_p == 0.8f);
  BOOST_TEST(golden.repetition_penalty == 1.0f);
  BOOST_TEST(golden.eos_token_id == (std::vector<TokenId>{301, 300}));
  BOOST_TEST(golden.pad_token_id.value() == 300);
  BOOST_TEST(golden.bos_token_id.value() == 300);
  BOOST_TEST(golden.token_limit() == 20);
  BOOST_CHECK_NO_THROW(golden.validate());

  const auto trained = read_generation_config(fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes");
  BOOST_TEST(!trained.do_sample);
  BOOST_TEST(trained.token_limit() == 96);
  BOOST_TEST(trained.eos_token_id == (std::vector<TokenId>{630, 628}));
}

BOOST_AUTO_TEST_CASE(all_fields) {
  const auto config = parsed(R"({"max_new_tokens": 7, "do_sample": true, "temperature": 2, "top_k": 3, "top_p": 0.25,
    "min_p": 0.5, "repetition_penalty": 1.5, "no_repeat_ngram_size": 4, "num_beams": 5, "eos_token_id": 6,
    "pad_token_id": 0, "bos_token_id": 2147483647, "transformers_version": "4.57.0", "max_length": 99, "x": {"y": []},
    "min_new_tokens": 0, "min_length": 8, "presence_penalty": 0.5, "frequency_penalty": -2, "length_penalty": -1.5,
    "early_stopping": "never", "num_return_sequences": 3, "prompt_lookup_num_tokens": 10,
    "max_matching_ngram_size": 4})");
  BOOST_TEST(config.max_length.value() == 99);
  BOOST_TEST(config.min_new_tokens.value() == 0);
  BOOST_TEST(config.min_length == 8);
  BOOST_TEST(config.presence_penalty == 0.5f);
  BOOST_TEST(config.frequency_penalty == -2.0f);
  BOOST_TEST(config.length_penalty == -1.5f);
  BOOST_TEST((config.early_stopping == EarlyStopping::never));
  BOOST_TEST(config.num_return_sequences == 3);
  BOOST_TEST(config.prompt_lookup_num_tokens == 10);
  BOOST_TEST(config.max_matching_ngram_size == 4);
  BOOST_TEST((parsed(R"({"early_stopping": true})").early_stopping == EarlyStopping::yes));
  BOOST_TEST((parsed(R"({"early_stopping": false})").early_stopping == EarlyStopping::no));
  BOOST_TEST(config.token_limit() == 7);
  BOOST_TEST(config.do_sample);
  BOOST_TEST(config.temperature == 2.0f);
  BOOST_TEST(config.top_k == 3);
  BOOST_TEST(config.top_p == 0.25f);
  BOOST_TEST(config.min_p == 0.5f);
  BOOST_TEST(config.repetition_penalty == 1.5f);
  BOOST_TEST(config.no_repeat_ngram_size == 4);
  BOOST_TEST(config.num_beams == 5);
  BOOST_TEST(config.eos_token_id == std::vector<TokenId>{6});
  BOOST_TEST(config.pad_token_id.value() == 0);
  BOOST_TEST(config.bos_token_id.value() == 2147483647);
}

BOOST_AUTO_TEST_CASE(fields_of_transformers_5) {
  const auto config = parsed(R"({"max_time": 2.5, "stop_strings": ["a", "bc"], "top_h": 0.5, "typical_p": 0.75,
    "epsilon_cutoff": 0.25, "eta_cutoff": 0.125, "encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 3,
    "sequence_bias": [[[1, 2], -2.5], [[3], 4]], "bad_words_ids": [[5], [6, 7]], "suppress_tokens": [8, 9],
    "begin_suppress_tokens": [10], "forced_bos_token_id": 11, "forced_eos_token_id": [12, 13],
    "exponential_decay_length_penalty": [14, 1.5], "remove_invalid_values": true, "renormalize_logits": true,
    "guidance_scale": 1.25, "token_healing": true, "output_logits": true, "output_scores": true,
    "output_attentions": true, "output_hidden_states": true,
    "watermarking_config": {"greenlist_ratio": 0.5, "bias": 1.5, "hashing_key": 9007199254740992,
                            "seeding_scheme": "selfhash", "context_width": 2}})");
  BOOST_TEST(config.max_time.value() == 2.5f);
  BOOST_TEST(config.stop_strings == (std::vector<std::string>{"a", "bc"}));
  BOOST_TEST(parsed(R"({"stop_strings": "x y"})").stop_strings == std::vector<std::string>{"x y"});
  BOOST_TEST(config.top_h.value() == 0.5f);
  BOOST_TEST(config.typical_p == 0.75f);
  BOOST_TEST(config.epsilon_cutoff == 0.25f);
  BOOST_TEST(config.eta_cutoff == 0.125f);
  BOOST_TEST(config.encoder_repetition_penalty == 1.5f);
  BOOST_TEST(config.encoder_no_repeat_ngram_size == 3);
  BOOST_TEST((config.sequence_bias == std::vector<SequenceBias>{{{1, 2}, -2.5f}, {{3}, 4.0f}}));
  BOOST_TEST((config.bad_words_ids == std::vector<std::vector<TokenId>>{{5}, {6, 7}}));
  BOOST_TEST(config.suppress_tokens == (std::vector<TokenId>{8, 9}));
  BOOST_TEST(config.begin_suppress_tokens == std::vector<TokenId>{10});
  BOOST_TEST(config.forced_bos_token_id.value() == 11);
  BOOST_TEST(config.forced_eos_token_id == (std::vector<TokenId>{12, 13}));
  BOOST_TEST((config.exponential_decay_length_penalty == LengthDecay{.start_index = 14, .decay_factor = 1.5f}));
  BOOST_TEST(config.remove_invalid_values);
  BOOST_TEST(config.renormalize_logits);
  BOOST_TEST(config.guidance_scale == 1.25f);
  BOOST_TEST(config.token_healing);
  BOOST_TEST(config.output_logits);
  BOOST_TEST(config.output_scores);
  BOOST_TEST(config.output_attentions);
  BOOST_TEST(config.output_hidden_states);
  const auto watermark = std::get<WatermarkingConfig>(config.watermarking_config.value());
  BOOST_TEST(watermark.greenlist_ratio == 0.5);
  BOOST_TEST(watermark.bias == 1.5f);
  BOOST_TEST(watermark.hashing_key == std::int64_t{1} << 53);
  BOOST_TEST((watermark.seeding_scheme == SeedingScheme::selfhash));
  BOOST_TEST(watermark.context_width == 2);
  BOOST_TEST(std::get<WatermarkingConfig>(*parsed(R"({"watermarking_config": {}})").watermarking_config).bias == 2.0f);
  BOOST_TEST(config.refused.empty());
}

BOOST_AUTO_TEST_CASE(what_is_written_is_read_again) {
  const std::string text = R"({"max_time": 2.5, "stop_strings": ["a", "bc"], "top_h": 0.5, "typical_p": 0.7,
    "sequence_bias": [[[1, 2], -2.5], [[3], 4]], "bad_words_ids": [[5], [6, 7]], "suppress_tokens": [8, 9],
    "forced_bos_token_id": 11, "forced_eos_token_id": [12, 13], "exponential_decay_length_penalty": [14, 1.1],
    "remove_invalid_values": true, "guidance_scale": 1.3, "early_stopping": "never", "eos_token_id": [6, 7],
    "watermarking_config": {"greenlist_ratio": 0.5, "bias": 1.7, "seeding_scheme": "selfhash"},
    "penalty_alpha": 0.6, "do_sample": true, "temperature": 0.8, "num_beams": 2})";
  const nlohmann::json written = generation_config_to_json(parsed(text));
  const nlohmann::json given = parse_json(text, "given");
  for (const auto& [name, value] : given.items())
    if (name != "watermarking_config") BOOST_TEST(written.at(name) == value, name << ": " << written.at(name));
  const auto again = generation_config_from_json(written, "written");
  BOOST_TEST((again.watermarking_config == parsed(text).watermarking_config));
  BOOST_TEST(generation_config_to_json(again) == written);
  BOOST_TEST(generation_config_to_json({}).size() == 1u);  // the version
  BOOST_CHECK_THROW(generation_config_to_json({.watermarking_config = SynthIDTextWatermarkingConfig{.keys = {1}}}),
                    Error);
}

// transformers wants 2.0, not 2, for some numbers, and a list for some single ids.
BOOST_AUTO_TEST_CASE(written_with_the_types_of_transformers) {
  const std::string text = R"({"temperature": 2.0, "encoder_repetition_penalty": 3.0, "sequence_bias": [[[1], -2.0]],
    "suppress_tokens": [8], "begin_suppress_tokens": [10], "forced_eos_token_id": 12, "eos_token_id": 1,
    "exponential_decay_length_penalty": [14, 2.0]})";
  nlohmann::json written = generation_config_to_json(parsed(text));
  written.erase("transformers_version");
  BOOST_TEST(written.dump() == parse_json(text, "text").dump());
}

// Every field that transformers has, from the list that make_generation.py wrote: an option of the list, or a field
// whose effect, none or an error, is known; and docs/options.md says which.
BOOST_AUTO_TEST_CASE(no_field_of_transformers_is_ignored) {
  const auto list = read_json_file(fs::path(QWEN3VL_TEST_DATA) / "golden/generation_fields.json");
  const auto names = list.at("fields").get<std::vector<std::string>>();
  BOOST_TEST(names.size() == 71u);
  std::vector<std::string> options, others;
  GenerationConfig config;
  for_each_generation_option([&](const GenerationOption& option, auto&) { options.emplace_back(option.name); }, config);
  for (const GenerationField& field : generation_fields) {
    others.emplace_back(field.name);
    const std::string row = concat("| `", field.name, "` | ", field.effect, " |");
    BOOST_TEST(test::read_file(QWEN3VL_TEST_DATA "/../docs/options.md").find(row + "\n") != std::string::npos,
               "docs/options.md lacks this row:\n"
                   << row);
  }
  for (const std::string& name : names)
    BOOST_TEST(std::ranges::count(options, name) + std::ranges::count(others, name) == 1, name);
  for (const std::string& name : others) BOOST_TEST(std::ranges::count(names, name) == 1, name);
  BOOST_TEST(options.size() + others.size() == names.size() + 3);  // seed, presence_ and frequency_penalty
}

// What generate() cannot do is an error of validate(), where the setting has a meaning; the file is still read.
BOOST_AUTO_TEST_CASE(settings_that_are_refused) {
  const struct {
    const char* field;
    const char* value;
    const char* meant = "{}";  // with these, it has a meaning
  } refused[] = {{"use_cache", "1"},
                 {"cache_implementation", "\"quantized\""},
                 {"cache_implementation", "\"mine\""},
                 {"max_cache_len", "\"long\""},
                 {"compile_config", "{}"},
                 {"low_memory", "true", R"({"num_beams": 2})"},
                 {"is_assistant", "true"},
                 {"assistant_ensemble_weight", "1.0"},
                 {"assistant_early_exit", "2"},
                 {"use_mtp", "true"},
                 {"penalty_alpha", "0.6"},
                 {"dola_layers", "\"low\""},
                 {"num_beam_groups", "2", R"({"num_beams": 2})"},
                 {"diversity_penalty", "\"much\""},
                 {"constraints", "[]"},
                 {"force_words_ids", "[[1]]"}};
  for (const auto& row : refused) BOOST_TEST_CONTEXT(row.field << " " << row.value) {
      auto json = parse_json(row.meant, "file.json");
      json[row.field] = parse_json(row.value, "file.json");
      const GenerationConfig config = generation_config_from_json(json, "file.json");
      check_error([&] { config.validate(); }, {concat("file.json: ", row.field, " is "), row.value});
    }
  for (const char* harmless :
       {R"({"penalty_alpha": 0.6, "do_sample": true})", R"({"penalty_alpha": 0.6, "top_k": 1})",
        R"({"penalty_alpha": 0.6, "num_beams": 2})", R"({"penalty_alpha": 0.0})",
        R"({"dola_layers": "low", "num_beams": 2})", R"({"num_beam_groups": 2})",
        R"({"num_beam_groups": 1, "num_beams": 2})", R"({"low_memory": true})", R"({"diversity_penalty": 0.5})",
        R"({"use_cache": false})", R"({"cache_implementation": "static"})",
        R"({"cache_config": {"nbits": 4}, "max_cache_len": 9, "prefill_chunk_size": 4, "disable_compile": true})",
        R"({"return_dict_in_generate": true, "decoder_start_token_id": [1]})",
        R"({"num_assistant_tokens": 5, "num_assistant_tokens_schedule": "constant", "assistant_lookbehind": 3})",
        R"({"assistant_confidence_threshold": 0.4, "target_lookbehind": 10, "assistant_ensemble_weight": 0.5})",
        R"({"speculation_type": "dflash", "continuous_batching_config": {}, "is_assistant": false, "use_mtp": false})"})
    BOOST_CHECK_NO_THROW(parsed(harmless).validate());
}

BOOST_AUTO_TEST_CASE(fields_that_nobody_knows) {
  const auto warnings = [](const std::string& text) {
    std::vector<std::string> all;
    generation_config_from_json(parse_json(text, "file.json"), "file.json",
                                [&](const std::string& warning) { all.push_back(warning); });
    return all;
  };
  BOOST_TEST(warnings(R"({"transformers_version": "5.24.0", "top_k": 3, "use_cache": true})").empty());
  const auto one = warnings(R"({"temprature": 0.5, "chat_format": "x", "top_k": 3})");
  BOOST_REQUIRE(one.size() == 1u);
  BOOST_TEST(one[0] == "file.json: nothing here knows chat_format, temprature; ignored");
  check_error([] { parsed(R"({"logits_processor": []})"); }, {"file.json: logits_processor"});
}

BOOST_AUTO_TEST_CASE(null_is_the_default) {
  const auto config = parsed(R"({"max_new_tokens": null, "do_sample": null, "temperature": null, "top_k": null,
    "top_p": null, "min_p": null, "repetition_penalty": null, "no_repeat_ngram_size": null, "num_beams": null,
    "eos_token_id": null, "pad_token_id": null, "bos_token_id": null, "max_length": null, "min_new_tokens": null,
    "min_length": null, "early_stopping": null, "length_penalty": null, "num_return_sequences": null,
    "prompt_lookup_num_tokens": null, "max_matching_ngram_size": null, "presence_penalty": null})");
  BOOST_TEST(config.token_limit() == 20);
  BOOST_TEST(config.token_limit(1000) == 20);
  BOOST_TEST(config.token_minimum() == 0);
  BOOST_TEST((config.early_stopping == EarlyStopping::no));
  BOOST_TEST(config.num_return_sequences == 1);
  BOOST_TEST(config.prompt_lookup_num_tokens == 0);
  BOOST_TEST(config.max_matching_ngram_size == 2);
  BOOST_TEST(!config.do_sample);
  BOOST_TEST(config.temperature == 1.0f);
  BOOST_TEST(config.top_k == 50);  // the only one that is on by default
  BOOST_TEST(parsed(R"({"top_k": 0})").top_k == 0);
  BOOST_TEST(config.top_p == 1.0f);
  BOOST_TEST(config.min_p == 0.0f);
  BOOST_TEST(config.repetition_penalty == 1.0f);
  BOOST_TEST(config.num_beams == 1);
  BOOST_TEST(config.eos_token_id.empty());
  BOOST_TEST(!config.pad_token_id.has_value());
}

BOOST_AUTO_TEST_CASE(missing_file_and_missing_eos) {
  const Folder folder;
  BOOST_TEST(read_generation_config(folder.path(), {5, 6}).eos_token_id == (std::vector<TokenId>{5, 6}));
  BOOST_TEST(read_generation_config(folder.path()).top_k == 50);
  folder.write(R"({"top_k": 4})");
  BOOST_TEST(read_generation_config(folder.path(), {5}).top_k == 4);
  BOOST_TEST(read_generation_config(folder.path(), {5}).eos_token_id == std::vector<TokenId>{5});
  folder.write(R"({"eos_token_id": [1]})");
  BOOST_TEST(read_generation_config(folder.path(), {5}).eos_token_id == std::vector<TokenId>{1});
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_read_is_not_missing) {
  const Folder folder;
  fs::create_directory(folder.path() / "generation_config.json");
  check_error([&] { read_generation_config(folder.path()); }, {"generation_config.json"});
}

BOOST_AUTO_TEST_CASE(wrong_values_name_file_and_field) {
  const struct {
    const char* field;
    const char* value;
  } rows[] = {{"max_new_tokens", "0"},
              {"max_new_tokens", "-1"},
              {"max_new_tokens", "1e3"},
              {"max_new_tokens", "\"9\""},
              {"max_new_tokens", "4294967296"},
              {"max_new_tokens", "18446744073709551615"},
              {"max_new_tokens", "-9223372036854775808"},
              {"do_sample", "1"},
              {"do_sample", "\"true\""},
              {"temperature", "-1"},
              {"temperature", "\"hot\""},
              {"temperature", "1e300"},
              {"temperature", "true"},
              {"top_k", "-1"},
              {"top_k", "2.5"},
              {"top_k", "[]"},
              {"top_k", "true"},
              {"top_p", "1.5"},
              {"top_p", "-0.1"},
              {"top_p", "{}"},
              {"min_p", "2"},
              {"min_p", "-1e-9"},
              {"repetition_penalty", "0"},
              {"repetition_penalty", "-2"},
              {"repetition_penalty", "1e-320"},
              {"no_repeat_ngram_size", "-3"},
              {"no_repeat_ngram_size", "1.0"},
              {"num_beams", "0"},
              {"max_length", "0"},
              {"min_new_tokens", "-1"},
              {"min_length", "1.5"},
              {"presence_penalty", "2.1"},
              {"frequency_penalty", "-3"},
              {"length_penalty", "\"long\""},
              {"early_stopping", "\"always\""},
              {"early_stopping", "1"},
              {"early_stopping", "[]"},
              {"num_return_sequences", "0"},
              {"prompt_lookup_num_tokens", "-1"},
              {"max_matching_ngram_size", "0"},
              {"max_time", "\"soon\""},
              {"stop_strings", "1"},
              {"stop_strings", "\"\""},
              {"stop_strings", "[\"a\", 1]"},
              {"top_h", "0"},
              {"top_h", "1.5"},
              {"typical_p", "0"},
              {"typical_p", "2"},
              {"epsilon_cutoff", "-1"},
              {"eta_cutoff", "1.5"},
              {"encoder_repetition_penalty", "0"},
              {"encoder_no_repeat_ngram_size", "-1"},
              {"sequence_bias", "[]"},
              {"sequence_bias", "{\"(1,)\": 1.0}"},
              {"sequence_bias", "[[1, 2.0]]"},
              {"sequence_bias", "[[[], 2.0]]"},
              {"sequence_bias", "[[[1], \"x\"]]"},
              {"sequence_bias", "[[[1], 1e300]]"},
              {"sequence_bias", "[[[-1], 1.0]]"},
              {"bad_words_ids", "[]"},
              {"bad_words_ids", "[1]"},
              {"bad_words_ids", "[[]]"},
              {"bad_words_ids", "[[1.5]]"},
              {"suppress_tokens", "[-1]"},
              {"begin_suppress_tokens", "\"x\""},
              {"forced_bos_token_id", "-1"},
              {"forced_eos_token_id", "[-1]"},
              {"exponential_decay_length_penalty", "[1]"},
              {"exponential_decay_length_penalty", "[1.5, 1.5]"},
              {"exponential_decay_length_penalty", "[-1, 1.5]"},
              {"exponential_decay_length_penalty", "[1, \"x\"]"},
              {"remove_invalid_values", "1"},
              {"renormalize_logits", "\"yes\""},
              {"guidance_scale", "\"strong\""},
              {"watermarking_config", "3"},
              {"watermarking_config", "{\"ngram_len\": 5, \"keys\": [1]}"},
              {"watermarking_config", "{\"greenlist_ratio\": 1.0}"},
              {"watermarking_config", "{\"bias\": \"x\"}"},
              {"watermarking_config", "{\"hashing_key\": -1}"},
              {"watermarking_config", "{\"seeding_scheme\": \"righthash\"}"},
              {"watermarking_config", "{\"context_width\": 0}"},
              {"token_healing", "1"},
              {"output_scores", "1"},
              {"output_attentions", "1"},
              {"output_hidden_states", "\"all\""},
              {"eos_token_id", "-1"},
              {"eos_token_id", "2147483648"},
              {"eos_token_id", "\"x\""},
              {"eos_token_id", "[1, \"x\"]"},
              {"eos_token_id", "[[1]]"},
              {"eos_token_id", "[1, -7]"},
              {"eos_token_id", "{\"a\": 1}"},
              {"eos_token_id", "1.0"},
              {"pad_token_id", "-1"},
              {"pad_token_id", "[1]"},
              {"bos_token_id", "99999999999"},
              {"bos_token_id", "\"\\ud83d\\ude00\\n\""}};
  for (const auto& row : rows) BOOST_TEST_CONTEXT(row.field << " " << row.value) {
      const std::string text = concat("{\"", row.field, "\": ", row.value, "}");
      check_error([&] { parsed(text); }, {"file.json", row.field});
    }
  check_error([] { parsed("{\"eos_token_id\": \"" + std::string(100000, 'x') + "\"}"); }, {"eos_token_id"});
}

BOOST_AUTO_TEST_CASE(files_that_are_no_configs) {
  const Folder folder;
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("3"), std::string("null"), std::string("{"),
        std::string("{\"top_k\": 1e999}"), std::string("{} {}"), std::string("\xff\xfe"), std::string(50000, '['),
        std::string("{\"top_k\": NaN}"), "{\"x\": \"" + std::string(std::size_t{2} << 20, 'x') + "\"}"}) {
    BOOST_TEST_CONTEXT(text.substr(0, 20)) {
      folder.write(text);
      check_error([&] { read_generation_config(folder.path()); }, {"generation_config.json"});
    }
  }
}

BOOST_AUTO_TEST_CASE(validate_names_the_field) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const auto check = [](const GenerationConfig& config, const char* field) {
    check_error([&] { config.validate(); }, {field});
  };
  check({.max_new_tokens = 0}, "max_new_tokens");
  check({.min_new_tokens = -1}, "min_new_tokens");
  check({.min_length = -1}, "min_length");
  check({.presence_penalty = 2.5f}, "presence_penalty");
  check({.frequency_penalty = nan}, "frequency_penalty");
  check({.num_beams = 0}, "num_beams");
  check({.num_beams = 1 << 20}, "num_beams");
  check({.num_beams = 4, .length_penalty = infinity}, "length_penalty");
  check({.num_beams = 4, .num_return_sequences = 5}, "num_return_sequences");
  check({.num_return_sequences = 2}, "do_sample");
  check({.do_sample = true, .num_return_sequences = 0}, "num_return_sequences");
  check({.num_beams = 2, .prompt_lookup_num_tokens = 3}, "prompt_lookup_num_tokens");
  check({.prompt_lookup_num_tokens = -3}, "prompt_lookup_num_tokens");
  check({.prompt_lookup_num_tokens = 3, .guidance_scale = 2.0f}, "guidance_scale");
  check({.max_time = nan}, "max_time");
  check({.guidance_scale = infinity}, "guidance_scale");
  check({.suppress_tokens = {1, 2}, .forced_eos_token_id = {2}}, "forced_eos_token_id");
  check({.suppress_tokens = {1, 2}, .forced_bos_token_id = 1}, "forced_bos_token_id");
  check({.forced_eos_token_id = {2, -1}}, "forced_eos_token_id");
  BOOST_CHECK_NO_THROW((GenerationConfig{.suppress_tokens = {1, 2}, .forced_eos_token_id = {2, 3}}.validate()));
  check({.exponential_decay_length_penalty = LengthDecay{}}, "eos_token_id");
  check({.watermarking_config = WatermarkingConfig{.greenlist_ratio = 0.0}}, "greenlist_ratio");
  check({.watermarking_config = WatermarkingConfig{.bias = nan}}, "bias");
  check({.watermarking_config = WatermarkingConfig{.hashing_key = -1}}, "hashing_key");
  check({.watermarking_config = WatermarkingConfig{.context_width = 0}}, "context_width");
  check({.watermarking_config = SynthIDTextWatermarkingConfig{}}, "keys");
  check({.watermarking_config = SynthIDTextWatermarkingConfig{.ngram_len = 1, .keys = {1}}}, "ngram_len");
  check({.watermarking_config = SynthIDTextWatermarkingConfig{.keys = {1}, .sampling_table_size = 1 << 25}},
        "sampling_table_size");
  check({.prompt_lookup_num_tokens = 3, .max_matching_ngram_size = 0}, "max_matching_ngram_size");
  check_error([] { GenerationConfig{.max_length = 9}.validate(9); }, {"max_length is 9", "max_new_tokens"});
  BOOST_CHECK_NO_THROW((GenerationConfig{.max_length = 10}.validate(9)));
  BOOST_CHECK_NO_THROW((GenerationConfig{.max_new_tokens = 1, .max_length = 1}.validate(9)));
  BOOST_CHECK_NO_THROW((GenerationConfig{.num_beams = 4, .num_return_sequences = 4}.validate()));
  for (const float bad : {0.0f, -1.0f, nan, infinity}) {
    check({.repetition_penalty = bad}, "repetition_penalty");
    check({.do_sample = true, .temperature = bad}, "temperature");
  }
  check({.no_repeat_ngram_size = -1}, "no_repeat_ngram_size");
  check({.do_sample = true, .top_k = -1}, "top_k");
  for (const float bad : {-0.1f, 1.1f, nan, infinity}) {
    check({.do_sample = true, .top_p = bad}, "top_p");
    check({.do_sample = true, .min_p = bad}, "min_p");
    check({.do_sample = true, .top_h = bad}, "top_h");
    check({.do_sample = true, .typical_p = bad}, "typical_p");
    check({.do_sample = true, .epsilon_cutoff = bad}, "epsilon_cutoff");
    check({.do_sample = true, .eta_cutoff = bad}, "eta_cutoff");
  }
  // Greedy decoding ignores them, and checkpoints leave them in any state.
  BOOST_CHECK_NO_THROW((GenerationConfig{.temperature = 0.0f, .top_k = -1, .top_p = 2.0f}.validate()));
}

BOOST_AUTO_TEST_CASE(what_a_call_can_change_is_checked_in_the_call) {
  GenerationConfig config = parsed(R"({"num_beams": 2000, "num_return_sequences": 3000})");
  BOOST_CHECK_THROW(config.validate(), Error);
  config.num_beams = config.num_return_sequences = 1;
  BOOST_CHECK_NO_THROW(config.validate());
  config.pad_token_id = -1;  // transformers takes it for a filler, too
  BOOST_CHECK_NO_THROW(config.validate());
  config.max_length = 0;  // of no account beside max_new_tokens
  config.max_new_tokens = 5;
  BOOST_CHECK_NO_THROW(config.validate());
  config.max_new_tokens = index_t{1} << 31;
  BOOST_CHECK_THROW(config.validate(), Error);
}

BOOST_AUTO_TEST_CASE(limits_go_by_new_tokens_first) {
  BOOST_TEST((GenerationConfig{.max_length = 30}.token_limit(12)) == 18);
  BOOST_TEST((GenerationConfig{.max_new_tokens = 5, .max_length = 30}.token_limit(12)) == 5);
  BOOST_TEST((GenerationConfig{.min_length = 30}.token_minimum(12)) == 18);
  BOOST_TEST((GenerationConfig{.min_length = 30}.token_minimum(40)) == 0);
  BOOST_TEST((GenerationConfig{.min_new_tokens = 5, .min_length = 30}.token_minimum(12)) == 5);
}

BOOST_AUTO_TEST_CASE(docs_have_every_option) {
  const GenerationConfig defaults;
  for_each_generation_option(
      []<class T>(const GenerationOption& option, const T& member) {
        if constexpr (std::is_same_v<T, EarlyStopping>) {
          test::check_row(option, "false", false);
        } else if constexpr (!requires { test::default_text(member); }) {
          test::check_row(option, "none", false);
        } else {
          test::check_row(option, member);
        }
      },
      defaults);
}

BOOST_AUTO_TEST_CASE(padding) {
  BOOST_TEST((GenerationConfig{.eos_token_id = {4, 5}, .pad_token_id = 3}.padding_token()) == 3);
  BOOST_TEST((GenerationConfig{.eos_token_id = {4, 5}}.padding_token()) == 4);
  BOOST_TEST(GenerationConfig{}.padding_token() == 0);
}

}  // namespace
