// The tokenizer against the reference's output on the official vocabulary, and against its own slow paths.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_tokenizer
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"
#include "support/check_fails.hpp"
#include "support/test_files.hpp"

using qwen3vl::PaddingSide;
using qwen3vl::TokenId;
using qwen3vl::Tokenizer;
using qwen3vl::TokenStream;
using Ids = std::vector<TokenId>;

namespace {

const std::filesystem::path data = QWEN3VL_TEST_DATA;
const std::filesystem::path tiny = std::filesystem::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";

const Tokenizer& official() {
  static const Tokenizer tokenizer = Tokenizer::from_file(data / "assets/qwen3-tokenizer/tokenizer.json");
  return tokenizer;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  BOOST_REQUIRE_MESSAGE(file, path);
  return nlohmann::json::parse(file);
}

nlohmann::json golden(const char* name) { return read_json(data / "golden/cases/tokenizer" / name); }

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[b >> 4];
    out += "0123456789abcdef"[b & 15];
  }
  return out;
}

std::vector<std::string> words(std::string_view text, bool only_regex) {
  std::vector<std::string> out;
  official().pretokenizer()(
      text, [&](std::string_view word) { out.emplace_back(word); }, only_regex);
  return out;
}

}  // namespace

BOOST_AUTO_TEST_CASE(golden_encode_and_decode) {
  const auto cases = golden("encode.json")["cases"];
  BOOST_REQUIRE_GE(cases.size(), 253u);
  for (const auto& c : cases) {
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<Ids>();
    BOOST_CHECK_MESSAGE(official().encode(text) == ids, "encode " << c["group"] << " " << c["text"].dump());
    BOOST_CHECK_MESSAGE(official().decode(ids) == c["decoded"], "decode " << c["text"].dump());
    const auto skipped = c.contains("decoded_skip_special") ? c["decoded_skip_special"] : c["decoded"];
    BOOST_CHECK_MESSAGE(official().decode(ids, true) == skipped, "decode without special tokens " << c["text"].dump());
  }
}

BOOST_AUTO_TEST_CASE(golden_token_bytes) {
  const auto json = golden("token_bytes.json");
  BOOST_TEST(official().vocab_size() == json["vocab_size"].get<std::size_t>());
  BOOST_REQUIRE(!json["rows"].empty());
  for (const auto& row : json["rows"]) {
    const auto id = row[0].get<TokenId>();
    BOOST_TEST(hex(official().token_bytes(id)) == row[1].get<std::string>(), "token " << id);
    const auto text = official().id_to_token(id);
    BOOST_REQUIRE(text);
    BOOST_TEST((official().token_to_id(*text) == id), "token " << id);
  }
}

BOOST_AUTO_TEST_CASE(golden_padding) {
  const auto json = golden("padding.json");
  BOOST_TEST((official().pad_token_id() == json["pad_token_id"].get<TokenId>()));
  BOOST_REQUIRE(!json["cases"].empty());
  for (const auto& c : json["cases"]) {
    const auto side = c["padding_side"] == "left" ? PaddingSide::left : PaddingSide::right;
    const auto inputs = official().encode_padded(c["texts"].get<std::vector<std::string>>(), side);
    Ids ids;
    std::vector<int> mask;
    for (const auto& row : c["input_ids"]) ids.insert(ids.end(), row.begin(), row.end());
    for (const auto& row : c["attention_mask"]) mask.insert(mask.end(), row.begin(), row.end());
    BOOST_TEST(static_cast<std::size_t>(inputs.batch_size()) == c["input_ids"].size(), c.dump());
    const auto& got = inputs.input_ids;
    const auto& got_mask = inputs.attention_mask;
    BOOST_TEST(Ids(got.data(), got.data() + got.size()) == ids, c.dump());
    BOOST_TEST(std::vector<int>(got_mask.data(), got_mask.data() + got_mask.size()) == mask, c.dump());
  }
}

// Truncation, overflow, padding, offsets, pairs; make_tokenizer_calls.py.
BOOST_AUTO_TEST_CASE(golden_calls) {
  using namespace qwen3vl;
  const auto json = golden("call.json");
  const test::TemporaryFolder folder;
  folder.write("tokenizer_config.json", json["settings"].dump());
  const Tokenizer tokenizer(TokenizerFile::read(data / "assets/qwen3-tokenizer/tokenizer.json"),
                            TokenizerSettings::from_pretrained(folder.path()));
  BOOST_REQUIRE_GE(json["cases"].size(), 150u);
  for (const auto& c : json["cases"]) {
    TokenizerOptions options{.return_offsets_mapping = true};
    for (const auto& [name, value] : c["options"].items()) {
      if (name == "padding") {
        options.padding = value == false          ? Padding::do_not_pad
                          : value == "max_length" ? Padding::max_length
                                                  : Padding::longest;
      } else if (name == "truncation") {
        options.truncation = value == false           ? Truncation::do_not_truncate
                             : value == "only_first"  ? Truncation::only_first
                             : value == "only_second" ? Truncation::only_second
                                                      : Truncation::longest_first;
      } else if (name == "max_length") {
        options.max_length = value.get<index_t>();
      } else if (name == "stride") {
        options.stride = value.get<index_t>();
      } else if (name == "pad_to_multiple_of") {
        options.pad_to_multiple_of = value.get<index_t>();
      } else if (name == "padding_side") {
        options.padding_side = value == "left" ? PaddingSide::left : PaddingSide::right;
      } else if (name == "truncation_side") {
        options.truncation_side = value == "left" ? TruncationSide::left : TruncationSide::right;
      } else if (name == "split_special_tokens") {
        options.split_special_tokens = value.get<bool>();
      } else {
        BOOST_REQUIRE(name == "return_overflowing_tokens");
        options.return_overflowing_tokens = value.get<bool>();
      }
    }
    const auto texts = c["texts"].get<std::vector<std::string>>();
    const auto pairs = c.value("text_pairs", std::vector<std::string>());
    const auto told = c.dump(-1, ' ', true);
    BatchEncoding found;
    try {
      found = tokenizer(texts, options, pairs);
    } catch (const Error& error) {
      // transformers only warns of a max_length without effect.
      const bool stricter = std::string(error.what()).starts_with("max_length has no effect");
      BOOST_CHECK_MESSAGE(c.contains("error") || stricter, error.what() << ": " << told);
      continue;
    }
    BOOST_CHECK_MESSAGE(!c.contains("error"), told);
    if (c.contains("error")) continue;
    BOOST_REQUIRE_MESSAGE(found.rows.size() == c["rows"].size(), found.rows.size() << ": " << told);
    for (std::size_t i = 0; i < found.rows.size(); ++i) {
      const BatchEncoding::Row& row = found.rows[i];
      const auto& wanted = c["rows"][i];
      BOOST_CHECK_MESSAGE(row.input_ids == wanted["ids"].get<Ids>(), "ids " << i << ": " << told);
      std::string mask, special, sequences;
      for (const auto value : row.attention_mask) mask += static_cast<char>('0' + value);
      for (const auto value : row.special_tokens_mask) special += static_cast<char>('0' + value);
      for (const int value : row.sequence_ids) sequences += value < 0 ? '-' : static_cast<char>('0' + value);
      std::vector<std::int64_t> offsets;
      for (const auto& [first, last] : row.offset_mapping) offsets.insert(offsets.end(), {first, last});
      BOOST_CHECK_MESSAGE(mask == wanted["mask"], "mask " << i << ": " << told);
      BOOST_CHECK_MESSAGE(special == wanted["special"], "special " << i << ": " << told);
      BOOST_CHECK_MESSAGE(sequences == wanted["sequences"], "sequences " << sequences << ": " << told);
      BOOST_CHECK_MESSAGE(offsets == wanted["offsets"].get<std::vector<std::int64_t>>(),
                          "offsets " << nlohmann::json(offsets).dump() << ": " << told);
      BOOST_CHECK_MESSAGE(row.sample == wanted["sample"].get<index_t>(), "sample " << i << ": " << told);
    }
  }

  const auto fails = [&](const TokenizerOptions& options, const std::string& what) {
    CHECK_FAILS(tokenizer("a b c d e f", options), what);
  };
  fails({.max_length = -1}, "max_length is -1");
  fails({.max_length = 3, .stride = 3}, "stride is 3, not below the 3 tokens");
  fails({.stride = -1}, "stride is -1");
  fails({.padding = Padding::longest, .pad_to_multiple_of = 0}, "pad_to_multiple_of is 0");
  fails({.padding = Padding::max_length, .max_length = index_t{1} << 40}, "more than the 16777216 tokens");
  using Texts = std::vector<std::string>;
  CHECK_FAILS(tokenizer(Texts{"a"}, {}, Texts{"b", "c"}), "1 texts and 2 text_pairs");
  const ModelInputs inputs = tokenizer(Texts{"a b", "c"}, {.padding = Padding::longest}).model_inputs();
  BOOST_TEST(inputs.input_ids(1, 1) == *tokenizer.pad_token_id());
  BOOST_TEST(inputs.attention_mask(1, 1) == 0);
  CHECK_FAILS(tokenizer(Texts{"a b", "c"}).model_inputs(), "row 1 has 1 tokens, the first 2");
}

BOOST_AUTO_TEST_CASE(golden_streaming) {
  const auto cases = golden("streaming.json")["cases"];
  BOOST_REQUIRE(!cases.empty());
  for (const auto& c : cases) {
    const auto ids = c["ids"].get<Ids>();
    const bool skip = c["skip_special_tokens"].get<bool>();
    TokenStream stream(official(), skip);
    std::string all;
    for (std::size_t k = 0; k < ids.size(); ++k) {
      const std::string chunk = stream.push(ids[k]);
      const auto& expected = c["chunks"][k];
      BOOST_CHECK_MESSAGE(chunk == (expected.is_null() ? "" : expected.get<std::string>()), c.dump() << " at " << k);
      const auto prefix = std::span(ids).first(k + 1);
      BOOST_CHECK_MESSAGE(official().decode(prefix, skip) == c["prefix_decodes"][k], c.dump() << " prefix " << k);
      all += chunk;
    }
    all += stream.flush();
    BOOST_CHECK_MESSAGE(all == official().decode(ids, skip), c.dump());
    BOOST_TEST(stream.flush() == "");
  }
}

BOOST_AUTO_TEST_CASE(checkpoint_prompts) {
  const auto tokenizer = Tokenizer::from_pretrained(tiny);
  BOOST_TEST((tokenizer.eos_token_id() == tokenizer.token_to_id("<|im_end|>")));
  BOOST_TEST((tokenizer.pad_token_id() == tokenizer.token_to_id("<|endoftext|>")));
  // Pads are expanded in prompt_ids only: one for each run on both sides.
  const auto collapse = [&](const Ids& ids) {
    Ids out;
    for (const TokenId id : ids) {
      const bool pad = id == tokenizer.token_to_id("<|image_pad|>") || id == tokenizer.token_to_id("<|video_pad|>");
      if (!pad || out.empty() || out.back() != id) out.push_back(id);
    }
    return out;
  };
  const auto json = read_json(tiny / "expected/cases.json");
  int compared = 0;
  for (const auto& c : json["cases"]) {
    const auto ids = c["ids"].get<Ids>();
    BOOST_CHECK_MESSAGE(tokenizer.decode(ids) == c["raw_text"], c["name"]);
    BOOST_CHECK_MESSAGE(tokenizer.decode(ids, true) == c["text"], c["name"]);
    BOOST_CHECK_MESSAGE(tokenizer.encode(c["raw_text"].get<std::string>()) == ids, c["name"]);
    const auto prompt = c["prompt"].get<std::string>();
    if (prompt.find("<|video_pad|>") != std::string::npos) continue;  // its expansion has timestamps
    BOOST_CHECK_MESSAGE(tokenizer.encode(prompt) == collapse(c["prompt_ids"].get<Ids>()) ||
                            collapse(tokenizer.encode(prompt)) == collapse(c["prompt_ids"].get<Ids>()),
                        c["name"]);
    ++compared;
  }
  BOOST_TEST(compared > 0);
}

BOOST_AUTO_TEST_CASE(short_cut_equals_regex) {
  // Characters that decide between the alternatives, with long s, Kelvin, spaces of all kinds and a combining mark.
  const std::vector<std::string> alphabet = {
      "a",  "s",  "S",  "t",      "r",      "e",      "E",          "v",          "l",          "L",
      "m",  "d",  "'",  "'",      "'",      " ",      " ",          "  ",         "\n",         "\r",
      "\t", "\v", "\f", "0",      "7",      ".",      "!",          "_",          "\x01",       "\x7f",
      "$",  "<",  "é",  "\u017F", "\u212A", "\u0301", "\u00A0",     "\u0085",     "\u3000",     "\u2028",
      "中", "²",  "½",  "\u180E", "\u200B", "\u202F", "\U0001F600", "\U0001D7D8", "\U00020000", std::string(1, '\0')};
  std::mt19937 random(1);
  for (int round = 0; round < 60000; ++round) {
    // Mostly ASCII, or every run would be the regex's.
    const std::size_t range = round % 3 == 0 ? alphabet.size() : 32;
    std::string text;
    for (std::size_t n = random() % 14; n > 0; --n) text += alphabet[random() % range];
    const auto fast = words(text, false);
    BOOST_REQUIRE_MESSAGE(fast == words(text, true), qwen3vl::utf8::quoted(text, 1000));
    std::string joined;
    for (const auto& word : fast) joined += word;
    BOOST_REQUIRE(joined == text);
  }
  // All ASCII texts of three characters.
  std::string three(3, '\0');
  for (int code = 0; code < 1 << 21; ++code) {
    three = {static_cast<char>(code & 127), static_cast<char>((code >> 7) & 127), static_cast<char>(code >> 14)};
    if (words(three, false) != words(three, true)) BOOST_FAIL(qwen3vl::utf8::quoted(three));
  }
}

BOOST_AUTO_TEST_CASE(white_space_is_the_references) {
  BOOST_TEST(words("\u180E\u180E", true) == std::vector<std::string>{"\u180E\u180E"});
  BOOST_TEST(words("a \u180E", true) == (std::vector<std::string>{"a", " \u180E"}));
  BOOST_TEST(words("a\u3000\u3000b", true) == (std::vector<std::string>{"a", "\u3000", "\u3000b"}));
  BOOST_TEST(words("it'\u017F it'S", true) == (std::vector<std::string>{"it", "'\u017F", " it", "'S"}));
}

BOOST_AUTO_TEST_CASE(words_merge_as_the_list_says) {
  // Straight from the definition: join the leftmost pair of lowest rank until none is left. Up to 48 bytes are merged
  // by scanning, more by a heap.
  const auto file = qwen3vl::TokenizerFile::read(data / "assets/qwen3-tokenizer/tokenizer.json");
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    ranks.emplace(std::pair(file.text(file.merges[i].first), file.text(file.merges[i].second)), i);
  }
  const auto merge = [&](const std::string& word) {
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    while (true) {
      std::size_t best = 0, best_rank = ranks.size();
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto at = ranks.find({parts[i], parts[i + 1]});
        if (at != ranks.end() && at->second < best_rank) best = i, best_rank = at->second;
      }
      if (best_rank == ranks.size()) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    Ids ids;
    for (const auto& part : parts) ids.push_back(official().token_to_id(part).value());
    return ids;
  };
  std::mt19937 random(2);
  for (int round = 0; round < 3000; ++round) {
    const int letters = round % 3 == 0 ? 2 : round % 3 == 1 ? 5 : 26;
    std::string word;
    for (std::size_t n = 2 + random() % 90; n > 0; --n) word += static_cast<char>('a' + random() % letters);
    BOOST_REQUIRE_MESSAGE(official().encode(word) == merge(word), word);
  }
}

BOOST_AUTO_TEST_CASE(large_texts_take_linear_time) {
  // Quadratic work on any of these would take minutes to hours.
  std::string marks;
  for (int i = 0; i < 300000; ++i) marks += i % 2 ? "\u0301" : "\u0316";
  std::string mixed;
  for (int i = 0; i < 300000; ++i) mixed += i % 2 ? "'" : "é";
  for (const std::string& text : {std::string(3000000, 'a'), std::string(3000000, ' '), std::string(3000000, ' ') + "é",
                                  std::string(3000000, '\n'), std::string(3000000, '<'), std::string(3000000, '\''),
                                  std::string(3000000, '7'), std::string(3000000, '='), mixed}) {
    BOOST_TEST((official().decode(official().encode(text)) == text), qwen3vl::utf8::quoted(text, 4));
  }
  BOOST_TEST(!official().encode("a" + marks).empty());
  BOOST_TEST(!official().encode(std::string(1000000, '\xff')).empty());
  TokenStream stream(official());
  const TokenId stray = *official().token_to_id(qwen3vl::byte_level::to_text("\x80"));
  for (int i = 0; i < 200000; ++i) BOOST_REQUIRE(stream.push(stray) == "");
  BOOST_TEST(stream.flush().size() == 600000u);
}

BOOST_AUTO_TEST_CASE(invalid_text_and_ids) {
  BOOST_TEST(official().encode("").empty());
  BOOST_TEST(official().encode("a\xff"
                               "b") == official().encode("a\uFFFD"
                                                         "b"));
  BOOST_TEST(official().encode("\xe4\xb8") == official().encode("\uFFFD"));
  BOOST_TEST(official().encode("\xed\xa0\x80") == official().encode("\uFFFD\uFFFD\uFFFD"));
  BOOST_TEST(official().encode("\xf0\x9f\x98z") == official().encode("\uFFFDz"));
  BOOST_TEST(official().encode("\xc0\x80\xf5\x80") == official().encode("\uFFFD\uFFFD\uFFFD\uFFFD"));
  // The model's vocabulary is larger than the tokenizer's: such ids decode to nothing.
  BOOST_TEST(official().decode(Ids{64, 151669, 151935, 2147483647, 65}) == "ab");
  BOOST_CHECK_THROW(official().decode(Ids{-100}), qwen3vl::Error);
  BOOST_CHECK_THROW(official().token_bytes(151669), qwen3vl::Error);
  BOOST_TEST(!official().id_to_token(-1));
  BOOST_TEST(!official().id_to_token(151669));
  BOOST_TEST(!official().token_to_id("no such token"));
  BOOST_TEST(official().is_special(151645));
  BOOST_TEST(!official().is_special(151667));  // <think>
  BOOST_CHECK_THROW(official().encode_padded(std::vector<std::string>{"", ""}), qwen3vl::Error);
}

BOOST_AUTO_TEST_CASE(random_bytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (std::size_t n = random() % 60; n > 0; --n) text += static_cast<char>(random());
    const auto ids = official().encode(text);
    BOOST_REQUIRE(ids == official().encode(qwen3vl::utf8::lossy(text)));
    Ids noise;
    for (std::size_t n = random() % 12; n > 0; --n) noise.push_back(static_cast<TokenId>(random() % 151700));
    TokenStream stream(official());
    std::string all;
    for (const TokenId id : noise) all += stream.push(id);
    BOOST_REQUIRE(all + stream.flush() == official().decode(noise));
    BOOST_REQUIRE(qwen3vl::utf8::valid_prefix(all) == all.size());
  }
}

BOOST_AUTO_TEST_CASE(threads_agree) {
  const auto cases = golden("encode.json")["cases"];
  const auto fresh = Tokenizer::from_file(data / "assets/qwen3-tokenizer/tokenizer.json");
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (auto& count : wrong) {
    threads.emplace_back([&] {
      for (const auto& c : cases) count += fresh.encode(c["text"].get<std::string>()) != c["ids"].get<Ids>();
    });
  }
  for (auto& thread : threads) thread.join();
  BOOST_TEST(wrong == std::vector<int>(4));
}
