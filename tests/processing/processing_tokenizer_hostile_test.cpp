// Damaged and hostile tokenizer files: one clear Error each, never a crash, a hang or a wrong tokenizer.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_tokenizer_hostile
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

using nlohmann::json;
using qwen3vl::Error;
using qwen3vl::PaddingSide;
using qwen3vl::TokenId;
using qwen3vl::Tokenizer;
using qwen3vl::TokenizerFile;
using qwen3vl::TokenizerSettings;
using Ids = std::vector<TokenId>;

namespace {

const std::filesystem::path tiny = std::filesystem::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(file, path);
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::string good = text_of(tiny / "tokenizer.json");

Tokenizer load(const std::string& text, const TokenizerSettings& settings = {}) {
  return Tokenizer(TokenizerFile::parse(text, "t.json"), settings);
}

Tokenizer load(const std::function<void(json&)>& change) {
  json file = json::parse(good);
  change(file);
  return load(file.dump());
}

// The error message of loading; "" if it succeeds.
std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("qwen3vl_tokenizer_test_" + std::to_string(std::random_device()()));
  Folder() { std::filesystem::create_directory(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const char* name, const std::string& text) const { std::ofstream(path / name, std::ios::binary) << text; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(faults_are_named) {
  struct Fault {
    const char* message;
    std::function<void(json&)> change;
  };
  const auto split = [](json& j) -> json& { return j["pre_tokenizer"]["pretokenizers"][0]; };
  const std::vector<Fault> faults = {
      {"model is not a JSON object", [](json& j) { j.erase("model"); }},
      {"model is not a JSON object", [](json& j) { j["model"] = 3; }},
      {"model.type: \"WordPiece\"", [](json& j) { j["model"]["type"] = "WordPiece"; }},
      {"model.vocab", [](json& j) { j["model"].erase("vocab"); }},
      {"model.vocab", [](json& j) { j["model"]["vocab"] = json::array(); }},
      {"model.vocab", [](json& j) { j["model"]["vocab"] = json::object(); }},
      {"model.vocab[\"!\"] is a string", [](json& j) { j["model"]["vocab"]["!"] = "0"; }},
      {"model.vocab[\"!\"] is -1", [](json& j) { j["model"]["vocab"]["!"] = -1; }},
      {"model.vocab[\"!\"] is 4194304", [](json& j) { j["model"]["vocab"]["!"] = 4194304; }},
      {"model.vocab[\"!\"] is 18446744073709551615", [](json& j) { j["model"]["vocab"]["!"] = ~std::uint64_t{0}; }},
      {"model.vocab[\"!\"] is a fraction", [](json& j) { j["model"]["vocab"]["!"] = 0.5; }},
      {"model.vocab[\"!\"] is an object", [](json& j) { j["model"]["vocab"]["!"] = json::object(); }},
      {"gives the id 1 to both", [](json& j) { j["model"]["vocab"]["!"] = 1; }},
      {"for byte 33", [](json& j) { j["model"]["vocab"].erase("!"); }},
      {"model.merges", [](json& j) { j["model"].erase("merges"); }},
      {"model.merges", [](json& j) { j["model"]["merges"] = json::object(); }},
      {"model.merges[0] is a number", [](json& j) { j["model"]["merges"][0] = 1; }},
      {"model.merges[0] has 1 parts", [](json& j) { j["model"]["merges"][0] = {"a"}; }},
      {"model.merges[0] has more than two",
       [](json& j) {
         j["model"]["merges"][0] = {"a", "b", "c"};
       }},
      {"model.merges[0] is \"abc\"", [](json& j) { j["model"]["merges"][0] = "abc"; }},
      {"model.merges[0] is \"a b c\"", [](json& j) { j["model"]["merges"][0] = "a b c"; }},
      {"but \"zzz\" is not in",
       [](json& j) {
         j["model"]["merges"][0] = {"zzz", "b"};
       }},
      {"but \"!!\" is not in",
       [](json& j) {
         j["model"]["merges"][0] = {"!", "!"};
       }},
      {"model.ignore_merges is \"no\", wanted true or false", [](json& j) { j["model"]["ignore_merges"] = "no"; }},
      {"model.dropout", [](json& j) { j["model"]["dropout"] = 0.1; }},
      {"model.end_of_word_suffix", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"normalizer.type: \"NFKC\"", [](json& j) { j["normalizer"]["type"] = "NFKC"; }},
      {"normalizer.normalizers: \"Lowercase\"",
       [](json& j) {
         j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}};
       }},
      {"normalizer is not a JSON object", [](json& j) { j["normalizer"] = "NFC"; }},
      {"pre_tokenizer is not a JSON object", [](json& j) { j["pre_tokenizer"] = nullptr; }},
      {"pretokenizers[0].type: \"Whitespace\"",
       [&](json& j) {
         split(j) = {{"type", "Whitespace"}};
       }},
      {"no ByteLevel", [](json& j) { j["pre_tokenizer"]["pretokenizers"].erase(1); }},
      {".behavior: \"Removed\"", [&](json& j) { split(j)["behavior"] = "Removed"; }},
      {".invert", [&](json& j) { split(j)["invert"] = true; }},
      {".pattern: must be",
       [&](json& j) {
         split(j)["pattern"] = {{"String", "a"}};
       }},
      {"pattern.Regex is not a valid regular expression", [&](json& j) { split(j)["pattern"]["Regex"] = "(a"; }},
      {"unsupported", [&](json& j) { split(j)["pattern"]["Regex"] = "[a[b]]"; }},
      {"unsupported", [&](json& j) { split(j)["pattern"]["Regex"] = "\\w+"; }},
      {"not a valid", [&](json& j) { split(j)["pattern"]["Regex"] = "\\C"; }},
      {"not a valid", [&](json& j) { split(j)["pattern"]["Regex"] = std::string(5000, '(') + std::string(5000, ')'); }},
      {"10000 is the limit", [&](json& j) { split(j)["pattern"]["Regex"] = std::string(20000, 'a'); }},
      {"add_prefix_space", [](json& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; }},
      {"decoder", [](json& j) { j["decoder"] = nullptr; }},
      {"decoder.type: \"Metaspace\"", [](json& j) { j["decoder"]["type"] = "Metaspace"; }},
      {"post_processor.type", [](json& j) { j["post_processor"]["type"] = "TemplateProcessing"; }},
      {"added_tokens: must be an array", [](json& j) { j["added_tokens"] = 1; }},
      {"added_tokens[0] is not a JSON object", [](json& j) { j["added_tokens"][0] = 1; }},
      {"added_tokens[0].id", [](json& j) { j["added_tokens"][0].erase("id"); }},
      {"added_tokens[0].id", [](json& j) { j["added_tokens"][0]["id"] = "0"; }},
      {"the id is -5", [](json& j) { j["added_tokens"][0]["id"] = -5; }},
      {"added_tokens[0]: the id is", [](json& j) { j["added_tokens"][0]["id"] = ~std::uint64_t{0}; }},
      {"have one id", [](json& j) { j["added_tokens"][0]["id"] = j["added_tokens"][1]["id"]; }},
      {"model.vocab has", [](json& j) { j["added_tokens"][0]["id"] = 0; }},
      {"model.vocab has", [](json& j) { j["added_tokens"][0]["content"] = "!"; }},
      {"before", [](json& j) { j["added_tokens"][0]["content"] = j["added_tokens"][1]["content"]; }},
      {"must not be empty", [](json& j) { j["added_tokens"][0]["content"] = ""; }},
      {"longer than", [](json& j) { j["added_tokens"][0]["content"] = std::string(2000, 'x'); }},
      {"added_tokens[0].special", [](json& j) { j["added_tokens"][0]["special"] = 1; }},
  };
  BOOST_REQUIRE_NO_THROW(load(good));
  for (const auto& fault : faults) {
    const std::string error = error_of([&] { load(fault.change); });
    BOOST_CHECK_MESSAGE(error.find(fault.message) != std::string::npos, fault.message << " expected, got: " << error);
    BOOST_CHECK_MESSAGE(error.starts_with("t.json"), error);
    BOOST_CHECK_MESSAGE(error.find('\n') == std::string::npos && error.size() < 600, error);
  }
}

BOOST_AUTO_TEST_CASE(damaged_text) {
  for (const std::string text : {"", "null", "[]", "3", "{", "{}", "\xff", "{\"model\":{\"vocab\":{\"\\ud800\":1}}}",
                                 "{\"model\":{\"vocab\":{\"a\":1},\"vocab\":{\"b\":2}}}", "{\"a\":1,\"a\":2}"}) {
    BOOST_CHECK_MESSAGE(error_of([&] { load(text); }).starts_with("t.json"), text);
  }
  BOOST_TEST(error_of([] { load(std::string(1000000, '[')); }).find("nested") != std::string::npos);
  std::string wide = "{\"x\":[0";
  for (int i = 0; i < 1000001; ++i) wide += ",0";
  BOOST_TEST(error_of([&] { load(wide + "]}"); }).find("values") != std::string::npos);
  for (std::size_t cut = 0; cut < good.size(); cut += 131) {
    BOOST_CHECK_MESSAGE(!error_of([&] { load(good.substr(0, cut)); }).empty(), cut);
  }
  // Any other exception, or a crash, ends the test.
  std::mt19937 random(4);
  for (int round = 0; round < 1500; ++round) {
    std::string text = good;
    for (std::size_t n = 1 + random() % 4; n > 0; --n) {
      const std::size_t at = random() % text.size();
      if (random() % 2) {
        text[at] = static_cast<char>(random());
      } else {
        text.replace(at, random() % 20, text.substr(random() % text.size(), random() % 20));
      }
    }
    error_of([&] { load(text).decode(load(text).encode("some text, <|im_start|> 12 \n é")); });
  }
}

BOOST_AUTO_TEST_CASE(endless_patterns_fail) {
  const std::string text(200, 'a');
  for (const char* pattern : {"(a+)+$b", "(a|aa)+c", "(?:a*)*c", "((a?){30}){30}c", "(a)(?1)*b|(?:(?:a+)+)+c"}) {
    const auto tokenizer = load([&](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern; });
    const std::string error = error_of([&] { BOOST_TEST(tokenizer.decode(tokenizer.encode(text)) == text); });
    BOOST_CHECK_MESSAGE(error.empty() || error.find("cannot be matched") != std::string::npos, error);
  }
  const auto tokenizer =
      load([](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+[bd]"; });
  BOOST_TEST(error_of([&] { tokenizer.encode(text + "c" + text); }).find("cannot be matched") != std::string::npos);
  // Empty matches only cut.
  const auto empty = load([](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "a*"; });
  BOOST_TEST(empty.decode(empty.encode("baab é")) == "baab é");
}

BOOST_AUTO_TEST_CASE(forms_of_the_file) {
  const auto reference = load(good);
  const std::string text = "The quick brown fox, 123 times.\n\n  <|im_end|>";
  const auto strings = load([](json& j) {
    for (auto& merge : j["model"]["merges"]) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  });
  BOOST_TEST(strings.encode(text) == reference.encode(text));
  BOOST_TEST(load([](json& j) { j["normalizer"] = nullptr; }).encode("e\u0301") != reference.encode("e\u0301"));
  // With ignore_merges, a word in the vocabulary needs no merges.
  const TokenId the = reference.token_to_id("Ġthe").value();
  BOOST_TEST(reference.encode(" the") == Ids{the});
  BOOST_TEST(load([](json& j) { j["model"]["merges"] = json::array(); }).encode(" the").size() == 4u);
  BOOST_TEST(load([](json& j) {
               j["model"]["merges"] = json::array();
               j["model"]["ignore_merges"] = true;
             }).encode(" the") == Ids{the});
}

BOOST_AUTO_TEST_CASE(flags_of_added_tokens) {
  TokenId id = 1000;
  const auto tokenizer = load([&](json& j) {
    const auto add = [&](const char* content, const char* flag) {
      json token = {{"id", id++}, {"content", content}, {"normalized", false}};
      if (*flag) token[flag] = true;
      j["added_tokens"].push_back(token);
    };
    add("<l>", "lstrip");           // 1000
    add("<r>", "rstrip");           // 1001
    add("word", "single_word");     // 1002
    add("e\u0301x", "normalized");  // 1003, found as \u00e9x
    add("<l><r>", "");              // 1004, longer than <l>
    add("two words", "special");    // 1005
  });
  const TokenId space = tokenizer.token_to_id("Ġ").value();
  const TokenId a = tokenizer.token_to_id("a").value();
  BOOST_TEST(tokenizer.encode("a \u3000<l> a").front() == a);
  BOOST_TEST(tokenizer.encode("a \n\u3000<l>") == (Ids{a, 1000}));
  BOOST_TEST(tokenizer.encode("<r> \u2028 a") == (Ids{1001, a}));
  BOOST_TEST(tokenizer.encode("<l><r><l>") == (Ids{1004, 1000}));
  BOOST_TEST(tokenizer.encode("word") == Ids{1002});
  BOOST_TEST(tokenizer.encode(" word ") == (Ids{space, 1002, space}));
  for (const char* inside : {"words", "_word", "9word", "word\u0301", "\u24B6word", "word\u200D"}) {
    const auto ids = tokenizer.encode(inside);
    BOOST_TEST(std::count(ids.begin(), ids.end(), 1002) == 0, inside);
  }
  BOOST_TEST(tokenizer.encode("\u00e9x") == Ids{1003});
  BOOST_TEST(tokenizer.encode("e\u0301x") == Ids{1003});
  BOOST_TEST(tokenizer.decode(Ids{1005, a}) == "two wordsa");
  BOOST_TEST(tokenizer.decode(Ids{1005, a}, true) == "a");
}

BOOST_AUTO_TEST_CASE(tokenizer_config) {
  const Folder folder;
  BOOST_TEST(error_of([&] { Tokenizer::from_pretrained(folder.path); }).find("tokenizer.json") != std::string::npos);
  folder.write("tokenizer.json", good);
  const auto plain = Tokenizer::from_pretrained(folder.path);
  BOOST_TEST((plain.eos_token_id() == plain.token_to_id("<|endoftext|>")));
  BOOST_TEST((plain.padding_side() == PaddingSide::right));

  folder.write("tokenizer_config.json",
               R"({"eos_token": {"content": "<|im_end|>", "lstrip": false}, "pad_token": null, "padding_side": "left",
                   "added_tokens_decoder": {"900": {"content": "<new>", "special": true},
                                            "652": {"content": "<think>", "special": true}}})");
  const auto set = Tokenizer::from_pretrained(folder.path);
  BOOST_TEST((set.eos_token_id() == set.token_to_id("<|im_end|>")));
  BOOST_TEST(!set.pad_token_id());
  BOOST_TEST((set.padding_side() == PaddingSide::left));
  BOOST_TEST(set.encode("<new>") == Ids{900});
  BOOST_TEST(set.is_special(652));
  BOOST_TEST(!plain.is_special(652));
  BOOST_TEST(set.vocab_size() == plain.vocab_size() + 1);
  BOOST_TEST(error_of([&] { set.encode_padded(std::vector<std::string>{"a"}); }).find("pad token") !=
             std::string::npos);

  const std::pair<const char*, const char*> faults[] = {
      {"eos_token", R"({"eos_token": 3})"},
      {"eos_token", R"({"eos_token": {"text": "a"}})"},
      {"not in the vocabulary", R"({"eos_token": "<none>"})"},
      {"padding_side", R"({"padding_side": "middle"})"},
      {"split_special_tokens is 3, wanted true or false", R"({"split_special_tokens": 3})"},
      {"truncation_side is \"middle\", wanted left or right", R"({"truncation_side": "middle"})"},
      {"model_max_length is 0", R"({"model_max_length": 0})"},
      {"added_tokens_decoder", R"({"added_tokens_decoder": []})"},
      {"key must be an id", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"},
      {"must lie in", R"({"added_tokens_decoder": {"-1": {"content": "<x>"}}})"},
      {"before", R"({"added_tokens_decoder": {"700": {"content": "<think>"}}})"},
      {"have one id", R"({"added_tokens_decoder": {"652": {"content": "<x>"}}})"},
      {"not JSON", "{"},
  };
  for (const auto& [message, text] : faults) {
    folder.write("tokenizer_config.json", text);
    const auto error = error_of([&] { Tokenizer::from_pretrained(folder.path); });
    BOOST_CHECK_MESSAGE(error.find(message) != std::string::npos && error.find("tokenizer_config") != std::string::npos,
                        text << ": " << error);
  }
}
