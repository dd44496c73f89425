/// What `tokenizer(texts, ...)` of transformers takes and gives: truncation, overflow, padding, offsets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/processing/tokenizer/nfc.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_settings.hpp"

namespace qwen3vl {

/// `truncation`: False, True or "longest_first", "only_first", "only_second" (of text and text_pair).
enum class Truncation { do_not_truncate, longest_first, only_first, only_second };

/// Keyword arguments of a tokenizer, with transformers' names.
struct TokenizerOptions {
  Padding padding = Padding::do_not_pad;
  /// Not set: longest_first where max_length is given and nothing is padded, else none, as in transformers.
  std::optional<Truncation> truncation{};
  /// Not set: model_max_length of tokenizer_config.json. Without that, nothing is padded to it or cut.
  std::optional<index_t> max_length{};
  index_t stride = 0;  ///< tokens that an overflowing row repeats of the one before
  std::optional<index_t> pad_to_multiple_of{};
  std::optional<PaddingSide> padding_side{};        ///< not set: the tokenizer's
  std::optional<TruncationSide> truncation_side{};  ///< not set: the tokenizer's
  std::optional<bool> split_special_tokens{};       ///< special tokens in the text are text; not set: the tokenizer's
  bool return_overflowing_tokens = false;           ///< what is cut off becomes further rows
  bool return_offsets_mapping = false;
};

/// Rows of tokens.
struct BatchEncoding {
  struct Row {
    std::vector<TokenId> input_ids;
    std::vector<std::uint8_t> attention_mask;
    std::vector<std::uint8_t> special_tokens_mask;  ///< 1: added by the tokenizer, which only pads
    /// The characters (code points) of the text that a token stands for, as in transformers; (0, 0) of padding.
    std::vector<CharacterRange> offset_mapping;  ///< empty if not asked for
    std::vector<int> sequence_ids;               ///< 0: of the text, 1: of its pair, -1: padding
    index_t sample = 0;                          ///< overflow_to_sample_mapping: the text it is of
  };
  std::vector<Row> rows;

  /// The rows as inputs of a model, [rows, length]. Throws Error if they are of different lengths.
  ModelInputs model_inputs() const {
    const auto length = static_cast<index_t>(rows.empty() ? 0 : rows.front().input_ids.size());
    ModelInputs inputs;
    inputs.input_ids = HostMatrix<TokenId>(static_cast<index_t>(rows.size()), length);
    inputs.attention_mask = HostMatrix<std::uint8_t>(static_cast<index_t>(rows.size()), length);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (static_cast<index_t>(rows[i].input_ids.size()) != length)
        fail("row ", i, " has ", rows[i].input_ids.size(), " tokens, the first ", length, "; give padding");
      std::ranges::copy(rows[i].input_ids, inputs.input_ids.data() + static_cast<index_t>(i) * length);
      std::ranges::copy(rows[i].attention_mask, inputs.attention_mask.data() + static_cast<index_t>(i) * length);
    }
    return inputs;
  }
};

/// Options with a tokenizer's defaults filled in, and what they do to rows. Source of the details: the truncation and
/// padding of Hugging Face tokenizers, which transformers calls.
class TokenizerPlan {
  using Row = BatchEncoding::Row;

 public:
  struct Defaults {
    std::optional<TokenId> pad_token;
    PaddingSide padding_side;
    TruncationSide truncation_side;
    std::optional<std::int64_t> model_max_length;
  };

  /// Throws Error for options that do not go together.
  TokenizerPlan(const TokenizerOptions& options, const Defaults& defaults)
      : padding_(options.padding),
        truncation_(options.truncation.value_or(options.max_length && options.padding == Padding::do_not_pad
                                                    ? Truncation::longest_first
                                                    : Truncation::do_not_truncate)),
        stride_(options.stride),
        multiple_(options.pad_to_multiple_of.value_or(1)),
        padding_side_(options.padding_side.value_or(defaults.padding_side)),
        truncation_side_(options.truncation_side.value_or(defaults.truncation_side)),
        keeps_overflow_(options.return_overflowing_tokens),
        has_offsets_(options.return_offsets_mapping),
        pad_token_(defaults.pad_token.value_or(0)) {
    if (options.max_length && *options.max_length < 0) fail("max_length is ", *options.max_length);
    if (stride_ < 0) fail("stride is ", stride_);
    if (multiple_ < 1) fail("pad_to_multiple_of is ", multiple_, "; it must be >= 1");
    if (options.max_length && padding_ == Padding::longest && truncation_ == Truncation::do_not_truncate)
      fail(
          "max_length has no effect where rows are padded to the longest and nothing is truncated; give "
          "Padding::max_length or a Truncation");
    const auto longest = options.max_length ? options.max_length : defaults.model_max_length;
    if (!longest) {
      if (padding_ == Padding::max_length) padding_ = Padding::do_not_pad;
      truncation_ = Truncation::do_not_truncate;
    }
    max_length_ = longest.value_or(0);
    if (padding_ != Padding::do_not_pad && !defaults.pad_token)
      fail("the tokenizer has no pad token, so texts cannot be padded to one length");
    // Padding a short text to it must not take more memory than any long one would.
    if (constexpr index_t most = index_t{1} << 24; padding_ == Padding::max_length && max_length_ > most)
      fail("max_length is ", max_length_, ", more than the ", most, " tokens that a row is padded to");
    if (truncates() && padding_ != Padding::do_not_pad && max_length_ % multiple_ != 0)
      fail("Truncation and padding are both activated but truncation length (", max_length_,
           ") is not a multiple of pad_to_multiple_of (", multiple_, ").");
  }

  /// The row of a text and, if asked for, those of what was cut off.
  std::vector<Row> rows(Row text) const {
    std::vector<Row> all;
    if (truncates() && size(text) > max_length_) {
      if (truncation_ == Truncation::only_second && max_length_ > 0)
        fail("truncation is of the text_pair only, and there is none");
      all = cut(std::move(text), max_length_);
    } else {
      all.push_back(std::move(text));
    }
    return finished(std::move(all));
  }

  /// The same of a text and its pair.
  std::vector<Row> rows(Row text, Row pair) const {
    std::vector<Row> first, second;
    const index_t excess = truncates() ? size(text) + size(pair) - max_length_ : 0;
    if (excess > 0) {
      index_t n1 = size(text), n2 = size(pair);
      if (max_length_ == 0) {
        n1 = n2 = 0;
      } else if (truncation_ == Truncation::longest_first) {
        const bool swapped = n1 > n2;
        if (swapped) std::swap(n1, n2);
        n2 = n1 > max_length_ ? n1 : std::max(n1, max_length_ - n1);
        if (n1 + n2 > max_length_) {
          n1 = max_length_ / 2;
          n2 = n1 + max_length_ % 2;
        }
        if (swapped) std::swap(n1, n2);
      } else {
        index_t& target = truncation_ == Truncation::only_first ? n1 : n2;
        if (target <= excess)
          fail("the text", truncation_ == Truncation::only_first ? "" : "_pair", " has ", target, " tokens, of which ",
               excess, " would have to be cut for max_length ", max_length_);
        target -= excess;
      }
      first = cut(std::move(text), n1);
      second = cut(std::move(pair), n2);
    } else {
      first.push_back(std::move(text));
      second.push_back(std::move(pair));
    }
    // What was cut off one goes with each part of the other.
    std::vector<Row> all{joined(first[0], second[0])};
    for (std::size_t i = 1; i < first.size(); ++i)
      for (const Row& other : second) all.push_back(joined(first[i], other));
    for (std::size_t j = 1; j < second.size(); ++j) all.push_back(joined(first[0], second[j]));
    return finished(std::move(all));
  }

  /// Fills rows at the wanted side.
  void pad(std::vector<Row>& rows) const {
    if (padding_ == Padding::do_not_pad) return;
    index_t length = padding_ == Padding::max_length ? max_length_ : 0;
    if (padding_ == Padding::longest)  // what was cut off may be longer, and stays so
      for (std::size_t i = 0; i < rows.size(); ++i)
        if (i == 0 || rows[i].sample != rows[i - 1].sample) length = std::max(length, size(rows[i]));
    length = (length + multiple_ - 1) / multiple_ * multiple_;
    for (Row& row : rows) {
      const auto missing = static_cast<std::size_t>(std::max<index_t>(0, length - size(row)));
      const auto fill = [&](auto& values, auto value) {
        values.insert(padding_side_ == PaddingSide::left ? values.begin() : values.end(), missing, value);
      };
      fill(row.input_ids, pad_token_);
      fill(row.attention_mask, std::uint8_t{0});
      fill(row.special_tokens_mask, std::uint8_t{1});
      fill(row.sequence_ids, -1);
      if (has_offsets_) fill(row.offset_mapping, CharacterRange{0, 0});
    }
  }

 private:
  bool truncates() const { return truncation_ != Truncation::do_not_truncate; }
  static index_t size(const Row& row) { return static_cast<index_t>(row.input_ids.size()); }

  static Row part(const Row& row, index_t begin, index_t end) {
    Row result;
    const auto copy = [&](const auto& from, auto& to) {
      if (!from.empty()) to.assign(from.begin() + begin, from.begin() + end);
    };
    copy(row.input_ids, result.input_ids);
    copy(row.offset_mapping, result.offset_mapping);
    copy(row.sequence_ids, result.sequence_ids);
    return result;
  }

  /// The first `length` tokens (or the last), then windows of that length over the rest.
  std::vector<Row> cut(Row row, index_t length) const {
    std::vector<Row> parts;
    const index_t all = size(row);
    if (length >= all) {
      parts.push_back(std::move(row));
      return parts;
    }
    if (length == 0) {
      parts.emplace_back();
      parts.push_back(std::move(row));
      return parts;
    }
    if (stride_ >= length)
      fail("stride is ", stride_, ", not below the ", length, " tokens that a text is truncated to");
    const index_t step = length - stride_;
    for (index_t done = 0; done < all; done += step) {
      const index_t end = std::min(done + length, all);
      parts.push_back(truncation_side_ == TruncationSide::right ? part(row, done, end)
                                                                : part(row, all - end, all - done));
      if (end == all || !keeps_overflow_) break;
    }
    return parts;
  }

  static Row joined(Row first, const Row& second) {
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(first.input_ids, second.input_ids);
    append(first.offset_mapping, second.offset_mapping);
    append(first.sequence_ids, second.sequence_ids);
    return first;
  }

  std::vector<Row> finished(std::vector<Row> rows) const {
    if (!keeps_overflow_) rows.resize(1);
    for (Row& row : rows) {
      row.attention_mask.assign(row.input_ids.size(), 1);
      row.special_tokens_mask.assign(row.input_ids.size(), 0);
    }
    return rows;
  }

  Padding padding_;
  Truncation truncation_;
  index_t max_length_ = 0, stride_, multiple_;
  PaddingSide padding_side_;
  TruncationSide truncation_side_;
  bool keeps_overflow_, has_offsets_;
  TokenId pad_token_;
};

}  // namespace qwen3vl
