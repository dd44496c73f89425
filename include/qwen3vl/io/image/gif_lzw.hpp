/// The data of a GIF's frame: variable-width LZW codes, packed from the lowest bit, in blocks of up to 255 bytes, and
/// the order of the rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl::detail {

/// Decodes one frame's data to strings of colour indices. The bytes must be a valid chain of length-prefixed blocks
/// ending with an empty one; their contents may be anything.
class GifLzw {
 public:
  static constexpr int max_code_bits = 12;

  /// `colour_bits`: the frame's "LZW minimum code size", 1 to 8.
  GifLzw(std::span<const std::uint8_t> blocks, int colour_bits)
      : blocks_(blocks), clear_(1u << colour_bits), code_bits_(colour_bits + 1), next_(clear_ + 2) {
    for (std::uint32_t colour = 0; colour < clear_; ++colour) {
      last_[colour] = static_cast<std::uint8_t>(colour);
      length_[colour] = 1;
    }
  }

  /// The next string, valid until the following call; empty at the end of the data and where it is broken.
  std::span<const std::uint8_t> next() {
    for (;;) {
      const std::uint32_t code = read_code();
      if (code == end_of_data || code == clear_ + 1) return {};
      if (code == clear_) {
        code_bits_ = colour_bits() + 1;
        next_ = clear_ + 2;
        previous_ = end_of_data;
        continue;
      }
      if (previous_ == end_of_data) return code < clear_ ? (previous_ = code, string(code)) : none();
      // A code not yet in the table means the previous string followed by its first colour.
      if (code > next_ || (code == next_ && next_ == last_.size())) return none();
      if (next_ < last_.size()) {
        prefix_[next_] = static_cast<std::uint16_t>(previous_);
        length_[next_] = static_cast<std::uint16_t>(length_[previous_] + 1);
        last_[next_] = first_colour(code == next_ ? previous_ : code);
        ++next_;
        if (next_ == 1u << code_bits_ && code_bits_ < max_code_bits) ++code_bits_;
      }
      previous_ = code;
      return string(code);
    }
  }

 private:
  static constexpr std::uint32_t end_of_data = ~0u;

  int colour_bits() const {
    int bits = 0;
    while (1u << bits < clear_) ++bits;
    return bits;
  }

  std::span<const std::uint8_t> none() {
    blocks_ = {};
    block_left_ = 0;
    bits_ = 0;
    return {};
  }

  std::uint32_t read_code() {
    while (bits_ < code_bits_) {
      if (block_left_ == 0) {
        block_left_ = at_ < blocks_.size() ? blocks_[at_++] : 0;
        if (block_left_ == 0) return end_of_data;
      }
      if (at_ >= blocks_.size()) return end_of_data;
      buffer_ |= static_cast<std::uint32_t>(blocks_[at_++]) << bits_;
      bits_ += 8;
      --block_left_;
    }
    const std::uint32_t code = buffer_ & ((1u << code_bits_) - 1);
    buffer_ >>= code_bits_;
    bits_ -= code_bits_;
    return code;
  }

  /// Prefixes have smaller codes than their strings, so these loops terminate.
  std::uint8_t first_colour(std::uint32_t code) const {
    while (code >= clear_) code = prefix_[code];
    return static_cast<std::uint8_t>(code);
  }

  std::span<const std::uint8_t> string(std::uint32_t code) {
    const std::size_t length = length_[code];
    for (std::size_t i = length; i-- > 0; code = prefix_[code]) string_[i] = last_[code];
    return {string_.data(), length};
  }

  std::span<const std::uint8_t> blocks_;
  std::uint32_t clear_;  // the code that empties the table; the one after it ends the data
  int code_bits_;
  std::uint32_t next_;  // the code that the next new string gets
  std::uint32_t previous_ = end_of_data;
  std::size_t at_ = 0;
  std::size_t block_left_ = 0;
  std::uint32_t buffer_ = 0;
  int bits_ = 0;
  // Per code: the string without its last colour, that colour, and the string's length.
  std::array<std::uint16_t, 1 << max_code_bits> prefix_{};
  std::array<std::uint8_t, 1 << max_code_bits> last_{};
  std::array<std::uint16_t, 1 << max_code_bits> length_{};
  std::array<std::uint8_t, (1 << max_code_bits) + 1> string_{};
};

/// Rows in file order: from top to bottom or, interlaced, every 8th, then the 4ths between them, the 2nds, the rest.
class GifRows {
 public:
  GifRows(int height, bool interlaced) : height_(height), step_(interlaced ? 8 : 1) {}
  int next() {
    const int row = row_;
    row_ += step_;
    while (row_ >= height_ && step_ > 1) {
      if (start_ > 0) step_ /= 2;
      row_ = start_ = step_ / 2;
    }
    return row;
  }

 private:
  int height_, step_, row_ = 0, start_ = 0;
};

}  // namespace qwen3vl::detail
