/// Text to tokens and back, from a checkpoint's tokenizer.json (the twin of transformers' Qwen2Tokenizer).
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/processing/tokenizer/added_tokens.hpp"
#include "qwen3vl/processing/tokenizer/batch_encoding.hpp"
#include "qwen3vl/processing/tokenizer/bpe.hpp"
#include "qwen3vl/processing/tokenizer/gguf_tokenizer.hpp"
#include "qwen3vl/processing/tokenizer/nfc.hpp"
#include "qwen3vl/processing/tokenizer/pretokenizer.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_settings.hpp"

namespace qwen3vl {

/// Byte-level BPE. Immutable: copies are cheap and share the tables, const functions are safe from several threads.
class Tokenizer {
  struct Tables {
    Bpe bpe;
    Pretokenizer pretokenizer;
    bool nfc = false;
    std::deque<AddedToken> added;  // its elements do not move
    std::map<std::string, const AddedToken*, std::less<>> added_by_content;
    std::unordered_map<TokenId, const AddedToken*> added_by_id;
    AddedTokenMatcher raw, normalized;
    std::size_t size = 0;
    std::optional<TokenId> eos, pad;
    PaddingSide padding_side = PaddingSide::right;
    TruncationSide truncation_side = TruncationSide::right;
    std::optional<std::int64_t> model_max_length;
    bool split_special_tokens = false;

    Tables(const TokenizerFile& file, const nlohmann::json& pretokenizer_json)
        : bpe(file), pretokenizer(pretokenizer_json, file.path) {}
  };
  std::shared_ptr<const Tables> tables_;

 public:
  /// Reads a tokenizer.json; eos and pad token are Qwen2Tokenizer's default, <|endoftext|>, if it exists. Throws
  /// Error naming file and field if the file is damaged or needs an unsupported feature.
  static Tokenizer from_file(const std::filesystem::path& path) {
    return Tokenizer(TokenizerFile::read(path), TokenizerSettings());
  }

  /// Reads a checkpoint's tokenizer.json and, where there is one, tokenizer_config.json, or what a GGUF file has
  /// instead.
  static Tokenizer from_pretrained(const CheckpointFiles& files) {
    const TokenizerSettings settings = TokenizerSettings::from_pretrained(files);
    return Tokenizer(read_file(files), settings);
  }

  /// The tokenizer.json of a checkpoint, or what stands for it.
  static TokenizerFile read_file(const CheckpointFiles& files) {
    return files.gguf() != nullptr ? tokenizer_of_gguf(files.gguf()->text)
                                   : TokenizerFile::read(files.path() / "tokenizer.json");
  }

  /// From files read before.
  Tokenizer(TokenizerFile file, const TokenizerSettings& settings) : tables_(build(std::move(file), settings)) {}

  /// The tokens of `text`, as `tokenizer(text, add_special_tokens=False)` (Qwen adds none). Added tokens in the text,
  /// special ones too, become their ids. Bytes that are not UTF-8 count as U+FFFD, one per maximal invalid subsequence.
  std::vector<TokenId> encode(std::string_view text) const {
    std::vector<TokenId> ids;
    ids.reserve(std::min<std::size_t>(text.size() / 3 + 4, 1 << 16));
    encode(text, tables_->split_special_tokens, ids, nullptr);
    return ids;
  }

  /// The tokens of `text` as plain text: added tokens, special ones too, are not looked for.
  std::vector<TokenId> encode_without_added_tokens(std::string_view text) const {
    const std::string repaired = utf8::lossy(text);
    const Tables& t = *tables_;
    std::vector<TokenId> ids;
    std::string buffer;
    t.pretokenizer(t.nfc ? nfc(repaired, buffer) : std::string_view(repaired),
                   [&](std::string_view word) { t.bpe.encode(word, ids); });
    return ids;
  }

  /// The added tokens, special ones among them.
  const std::deque<AddedToken>& added_tokens() const { return tables_->added; }

  /// `tokenizer(texts, text_pairs, ...)`: one row for each text, or more with return_overflowing_tokens. No pairs, or
  /// one for each text. Throws Error for options that do not go together, and where a text cannot be cut as asked.
  BatchEncoding operator()(std::span<const std::string> texts, const TokenizerOptions& options = {},
                           std::span<const std::string> text_pairs = {}) const {
    if (!text_pairs.empty() && text_pairs.size() != texts.size())
      fail("there are ", texts.size(), " texts and ", text_pairs.size(), " text_pairs; give one for each");
    const TokenizerPlan plan(options,
                             {pad_token_id(), padding_side(), tables_->truncation_side, tables_->model_max_length});
    const auto row = [&](const std::string& text, int sequence) {
      BatchEncoding::Row one;
      encode(text, options.split_special_tokens.value_or(tables_->split_special_tokens), one.input_ids,
             options.return_offsets_mapping ? &one.offset_mapping : nullptr);
      one.sequence_ids.assign(one.input_ids.size(), sequence);
      return one;
    };
    BatchEncoding batch;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      std::vector<BatchEncoding::Row> rows =
          text_pairs.empty() ? plan.rows(row(texts[i], 0)) : plan.rows(row(texts[i], 0), row(text_pairs[i], 1));
      for (BatchEncoding::Row& one : rows) {
        one.sample = static_cast<index_t>(i);
        batch.rows.push_back(std::move(one));
      }
    }
    plan.pad(batch.rows);
    return batch;
  }
  template <std::convertible_to<std::string_view> Text>
  BatchEncoding operator()(const Text& text, const TokenizerOptions& options = {}) const {
    const std::string texts[] = {std::string(std::string_view(text))};
    return (*this)(std::span<const std::string>(texts), options);
  }

  /// `encode` of each text; rows differ in length.
  std::vector<std::vector<TokenId>> encode_batch(std::span<const std::string> texts) const {
    std::vector<std::vector<TokenId>> rows;
    rows.reserve(texts.size());
    for (const std::string& text : texts) rows.push_back(encode(text));
    return rows;
  }

  /// `tokenizer(texts, padding=True)`: `input_ids` and `attention_mask` [texts, longest]. Throws Error without a pad
  /// token, or when all texts are empty. `side` overrides the checkpoint's padding_side.
  ModelInputs encode_padded(std::span<const std::string> texts, std::optional<PaddingSide> side = std::nullopt) const {
    const auto pad = pad_token_id();
    if (!pad) fail("the tokenizer has no pad token, so texts cannot be padded to one length");
    PromptTokens prompts;
    for (const std::string& text : texts) {
      const auto ids = encode(text);
      prompts.ids.insert(prompts.ids.end(), ids.begin(), ids.end());
      prompts.rows.append(static_cast<index_t>(ids.size()));
    }
    ModelInputs inputs = to_padded(prompts, *pad, side.value_or(padding_side()));
    inputs.mm_token_type_ids = {};  // a tokenizer knows none
    return inputs;
  }

  /// The text of `ids`; bytes that are not UTF-8 become U+FFFD, one per maximal invalid subsequence. Ids without a
  /// token (a model's vocabulary is padded) give nothing, as in transformers. Throws Error for a negative id.
  /// Added tokens give their text, where transformers garbles one with letters such as é (it reads it as byte level).
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = false) const {
    std::string bytes;
    for (const TokenId id : ids) {
      if (!(skip_special_tokens && is_special(id))) bytes += bytes_or_nothing(id);
    }
    return utf8::valid_prefix(bytes) == bytes.size() ? bytes : utf8::lossy(bytes);
  }

  /// `decode` of each row.
  std::vector<std::string> batch_decode(std::span<const std::vector<TokenId>> rows,
                                        bool skip_special_tokens = false) const {
    std::vector<std::string> texts;
    texts.reserve(rows.size());
    for (const auto& row : rows) texts.push_back(decode(row, skip_special_tokens));
    return texts;
  }

  /// The bytes a token stands for, perhaps only a part of a character. Throws Error if `id` is no token.
  std::string_view token_bytes(TokenId id) const {
    if (!contains(id)) fail("token_bytes: there is no token ", id, "; the tokenizer has ", vocab_size(), " tokens");
    return bytes_or_nothing(id);
  }

  /// `token_bytes`, but nothing for an id >= 0 that has no token. Throws Error for a negative id.
  std::string_view bytes_or_nothing(TokenId id) const {
    if (id < 0) fail("token id ", id, " is negative; were labels decoded instead of tokens?");
    if (const AddedToken* token = added(id)) return token->content;
    return tables_->bpe.contains(id) ? tables_->bpe.bytes(id) : std::string_view();
  }

  /// The id of a token as vocabularies write it: "Ġthe", "<|im_end|>".
  std::optional<TokenId> token_to_id(std::string_view token) const {
    const auto at = tables_->added_by_content.find(token);
    return at != tables_->added_by_content.end() ? std::optional(at->second->id) : tables_->bpe.find(token);
  }

  /// The token as vocabularies write it, nothing if `id` is no token.
  std::optional<std::string> id_to_token(TokenId id) const {
    if (const AddedToken* token = added(id)) return token->content;
    return tables_->bpe.contains(id) ? std::optional(tables_->bpe.text(id)) : std::nullopt;
  }

  /// True for tokens that `skip_special_tokens` leaves out. `<think>` and `<tool_call>` are added tokens, but not
  /// special.
  bool is_special(TokenId id) const {
    const AddedToken* token = added(id);
    return token && token->special;
  }

  bool contains(TokenId id) const { return added(id) || tables_->bpe.contains(id); }
  /// Number of tokens, added ones too: `len(tokenizer)` in transformers. Ids can have gaps.
  std::size_t vocab_size() const { return tables_->size; }

  std::optional<TokenId> eos_token_id() const { return tables_->eos; }
  std::optional<TokenId> pad_token_id() const { return tables_->pad; }
  PaddingSide padding_side() const { return tables_->padding_side; }
  TruncationSide truncation_side() const { return tables_->truncation_side; }
  std::optional<std::int64_t> model_max_length() const { return tables_->model_max_length; }

  /// The word splitting, for tests and tools.
  const Pretokenizer& pretokenizer() const { return tables_->pretokenizer; }

 private:
  /// Appends the tokens of `text`, and where each stands if `offsets` are wanted: a range of its characters.
  void encode(std::string_view text, bool split_special_tokens, std::vector<TokenId>& ids,
              std::vector<CharacterRange>* offsets) const {
    std::string repaired;
    if (utf8::valid_prefix(text) != text.size()) {
      repaired = utf8::lossy(text);
      text = repaired;
    }
    const Tables& t = *tables_;
    std::string buffer;
    std::vector<CharacterRange> aligned;  // of the bytes of a piece
    std::size_t at = 0;                   // in it
    std::int64_t character = 0;           // its first
    const auto place = [&](std::size_t bytes) {
      if (offsets == nullptr || bytes == 0) return;
      offsets->push_back({aligned[at].first, aligned[at + bytes - 1].second});
      at += bytes;
    };
    const auto in_part = [&](std::string_view part, const AddedToken* token) {
      if (token) {
        ids.push_back(token->id);
        return place(part.size());
      }
      t.pretokenizer(part, [&](std::string_view word) {
        const std::size_t before = ids.size();
        t.bpe.encode(word, ids);
        if (offsets == nullptr) return;
        for (std::size_t i = before; i < ids.size(); ++i) place(t.bpe.bytes(ids[i]).size());
      });
    };
    const auto in_piece = [&](std::string_view piece, const AddedToken* token) {
      if (offsets != nullptr) {
        at = 0;
        aligned = nfc_alignment(piece, t.nfc && token == nullptr, character);
        character += std::ranges::count_if(piece, [](char c) { return (c & 0xC0) != 0x80; });
      }
      if (token) return in_part(piece, token);
      t.normalized(t.nfc ? nfc(piece, buffer) : piece, in_part, split_special_tokens);
    };
    t.raw(text, in_piece, split_special_tokens);
  }

  const AddedToken* added(TokenId id) const {
    const auto at = tables_->added_by_id.find(id);
    return at == tables_->added_by_id.end() ? nullptr : at->second;
  }

  static std::shared_ptr<const Tables> build(TokenizerFile file, const TokenizerSettings& settings) {
    const nlohmann::json& json = file.rest;
    const auto part = [&](const char* key) {
      const auto at = json.find(key);
      return at == json.end() ? nlohmann::json() : *at;
    };
    check_model(part("model"), file);
    auto tables = std::make_shared<Tables>(file, part("pre_tokenizer"));
    tables->nfc = wants_nfc(part("normalizer"), file.path);
    check_byte_level(part("decoder"), "decoder", file.path, false);
    check_byte_level(part("post_processor"), "post_processor", file.path, true);
    tables->size = tables->bpe.size();
    const nlohmann::json list = part("added_tokens");
    if (!list.is_null() && !list.is_array()) fail(file.path, ": added_tokens: must be an array");
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string where = concat(file.path, ": added_tokens[", i, "]");
      AddedToken token = read_added_token(list[i], where);
      const auto id = list[i].find("id");
      if (id == list[i].end() || !id->is_number_integer()) fail(where, ".id: must be an integer");
      if (id->is_number_unsigned()) {
        token.id = added_token_id(
            static_cast<std::int64_t>(std::min<std::uint64_t>(id->get<std::uint64_t>(), std::int64_t{1} << 62)), where);
      } else {
        token.id = added_token_id(id->get<std::int64_t>(), where);
      }
      add(*tables, std::move(token), where, false);
    }
    for (const AddedToken& token : settings.added_tokens) {
      add(*tables, token, settings.path + ": added_tokens_decoder", true);
    }
    for (const AddedToken& token : tables->added) {
      if (!token.normalized) {
        tables->raw.add(token.content, token);
        continue;
      }
      std::string buffer;
      tables->normalized.add(tables->nfc ? nfc(token.content, buffer) : token.content, token);
    }
    tables->padding_side = settings.padding_side.value_or(PaddingSide::right);  // as in transformers
    tables->truncation_side = settings.truncation_side;
    tables->model_max_length = settings.model_max_length;
    tables->split_special_tokens = settings.split_special_tokens;
    tables->eos = named(*tables, settings.eos_token, settings.explicit_eos, "eos_token", settings.path);
    tables->pad = named(*tables, settings.pad_token, settings.explicit_pad, "pad_token", settings.path);
    return tables;
  }

  // An entry of tokenizer_config.json repeats one of tokenizer.json, and its flags count; or it is a further token.
  static void add(Tables& tables, AddedToken token, const std::string& where, bool may_repeat) {
    const auto known = tables.added_by_content.find(token.content);
    if (known != tables.added_by_content.end()) {
      if (!may_repeat || known->second->id != token.id) {
        fail(where, ": ", utf8::quoted(token.content), " has the id ", token.id, ", but was given ", known->second->id,
             " before");
      }
      *std::find_if(tables.added.begin(), tables.added.end(), [&](auto& t) { return t.id == token.id; }) = token;
      return;
    }
    if (const auto at = tables.added_by_id.find(token.id); at != tables.added_by_id.end()) {
      fail(where, ": ", utf8::quoted(token.content), " and ", utf8::quoted(at->second->content), " have one id, ",
           token.id);
    }
    const auto entry = tables.bpe.find(token.content);
    if (entry ? *entry != token.id : tables.bpe.contains(token.id)) {
      fail(where, ": ", utf8::quoted(token.content), " has the id ", token.id, ", but model.vocab has ",
           entry ? concat("it as ", *entry) : utf8::quoted(tables.bpe.text(token.id)) + " there");
    }
    if (!entry) ++tables.size;
    const AddedToken& stored = tables.added.emplace_back(std::move(token));
    tables.added_by_content.emplace(stored.content, &stored);
    tables.added_by_id.emplace(stored.id, &stored);
  }

  static std::optional<TokenId> named(const Tables& tables, const std::optional<std::string>& token, bool must_exist,
                                      const char* key, const std::string& path) {
    if (!token) return std::nullopt;
    const auto at = tables.added_by_content.find(*token);
    const auto id = at != tables.added_by_content.end() ? std::optional(at->second->id) : tables.bpe.find(*token);
    if (!id && must_exist) fail(path, ": ", key, " ", utf8::quoted(*token), " is not in the vocabulary");
    return id;
  }

  // unk_token, fuse_unk and byte_fallback need no check: with all 256 bytes in the vocabulary nothing is unknown.
  static void check_model(const nlohmann::json& model, TokenizerFile& file) {
    const std::string where = file.path + ": model";
    const JsonFields fields(model, where, ".");
    if (const auto type = model.find("type"); type != model.end() && *type != "BPE") {
      fail(where, ".type: ", type->dump().substr(0, 40), " is unsupported; only \"BPE\" is");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const nlohmann::json* const at = fields.find(key);
      // A JSON value: it may be something else than a string.
      if (at != nullptr && *at != "")  // NOLINT(readability-container-size-empty)
        fail(where, ".", key, ": only \"\" is supported");
    }
    if (const auto* const dropout = fields.find("dropout"); dropout != nullptr && *dropout != 0.0)
      fail(where, ".dropout: is unsupported, since it makes tokens random");
    file.ignore_merges = fields.boolean("ignore_merges", false);
    for (const char* key : {"vocab", "merges"}) {
      // The reader leaves null where it took the real thing out.
      if (!model.contains(key) || !model[key].is_null()) fail(where, ".", key, ": missing, or of the wrong type");
    }
    if (file.vocab.empty()) fail(where, ".vocab: must be an object with entries");
  }

  static bool wants_nfc(const nlohmann::json& normalizer, const std::string& path) {
    if (normalizer.is_null()) return false;
    const std::string where = path + ": normalizer";
    const std::string type = JsonFields(normalizer, where, ".").string("type");
    if (type == "NFC") return true;
    if (type != "Sequence") fail(where, ".type: ", utf8::quoted(type), " is unsupported; only \"NFC\" and none are");
    const auto list = normalizer.find("normalizers");
    if (list == normalizer.end() || !list->is_array()) fail(where, ".normalizers: must be an array");
    bool nfc = false;
    for (const auto& step : *list) {
      const std::string name = JsonFields(step, where + ".normalizers", ".").string("type");
      if (name != "NFC") fail(where, ".normalizers: ", utf8::quoted(name), " is unsupported; only \"NFC\" is");
      nfc = true;
    }
    return nfc;
  }

  static void check_byte_level(const nlohmann::json& part, const char* key, const std::string& path, bool may_be_null) {
    if (part.is_null() && may_be_null) return;
    const std::string where = concat(path, ": ", key);
    const std::string type = JsonFields(part, where, ".").string("type");
    if (type != "ByteLevel") fail(where, ".type: ", utf8::quoted(type), " is unsupported; only \"ByteLevel\" is");
  }
};

}  // namespace qwen3vl
