// generation_config.json from checkpoints and from attackers, and settings that generation must reject.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_config
#include "qwen3vl/config/generation_config.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "qwen3vl/config/generation_config_json.hpp"
#include "support/option_table.hpp"

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

BOOST_AUTO_TEST_CASE(null_turns_off) {
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
  BOOST_TEST(config.top_k == 0);
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
