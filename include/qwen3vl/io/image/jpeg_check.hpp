/// Checks a JPEG file's tables before stb_image reads it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl {

/// JPEG fields that stb_image up to 2.27 (Debian 12's) trusts without validation: counts of Huffman codes, which make
/// it write past its tables, and undefined tables, which it reads uninitialised.
class JpegCheck {
 public:
  /// `max_scans`: each scan takes as long as the whole image, but only ten bytes of the file.
  JpegCheck(std::span<const std::byte> file, std::size_t max_scans) : file_(file), max_scans_(max_scans) {}

  /// What is wrong, or nullptr. Files that are not JPEGs or are broken in other ways pass: the decoder rejects them.
  const char* problem() {
    std::size_t at = 0, scans = 0;
    while (at < file_.size() && byte(at) == 0xff) ++at;  // 0xff may be repeated before each marker, including the first
    if (at == 0 || at == file_.size() || byte(at) != 0xd8) return nullptr;
    ++at;
    while (true) {
      // The next marker: 0xff followed by neither padding, a stuffed zero, nor a restart inside coded data.
      while (at + 1 < file_.size() &&
             !(byte(at) == 0xff && byte(at + 1) != 0xff && byte(at + 1) != 0 && (byte(at + 1) & 0xf8) != 0xd0))
        ++at;
      if (at + 3 >= file_.size()) return nullptr;
      const unsigned marker = byte(at + 1);
      const std::size_t length = std::size_t{byte(at + 2)} << 8 | byte(at + 3), begin = at + 4, end = at + 2 + length;
      if (length < 2 || marker == 0xd9) return nullptr;
      const char* wrong = nullptr;
      if (marker == 0xda) {
        if (++scans > max_scans_) return "its JPEG has more scans than the limit (ImageLimits::max_scans)";
        wrong = scan(begin);
      } else if (marker == 0xc4) {
        wrong = huffman_tables(begin, end);
      } else if (marker == 0xdb) {
        quantization_tables(begin, end);
      } else if (marker == 0xc0 || marker == 0xc1 || marker == 0xc2) {
        frame(begin, marker == 0xc2);
      }
      if (wrong != nullptr) return wrong;
      at = end;
    }
  }

 private:
  struct Component {
    unsigned id, quantization;
  };

  /// stb_image reads zeros after the end of a file.
  std::uint8_t byte(std::size_t i) const { return i < file_.size() ? static_cast<std::uint8_t>(file_[i]) : 0; }

  /// At most 256 codes in each, as the format allows.
  const char* huffman_tables(std::size_t table, std::size_t end) {
    while (table < end && table < file_.size()) {
      const unsigned kind = byte(table) >> 4, number = byte(table) & 15u;
      std::size_t codes = 0;
      for (std::size_t i = table + 1; i <= table + 16; ++i) codes += byte(i);
      if (codes > 256) return "a Huffman table of more than 256 codes";
      if (kind < 2 && number < 4) huffman_[kind][number] = true;
      table += 17 + codes;
    }
    return nullptr;
  }
  void quantization_tables(std::size_t table, std::size_t end) {
    while (table < end && table < file_.size()) {
      if (const unsigned number = byte(table) & 15u; number < 4) quantization_[number] = true;
      table += byte(table) >> 4 != 0 ? 129 : 65;
    }
  }
  /// stb_image rejects a second frame.
  void frame(std::size_t begin, bool progressive) {
    if (components_ != 0) return;
    progressive_ = progressive;
    components_ = byte(begin + 5) < 4 ? byte(begin + 5) : 4;
    for (unsigned i = 0; i < components_; ++i)
      component_[i] = {.id = byte(begin + 6 + 3 * i), .quantization = byte(begin + 8 + 3 * i)};
  }
  const char* scan(std::size_t begin) const {
    const unsigned count = byte(begin);
    if (count < 1 || count > 4) return nullptr;
    const unsigned first = byte(begin + 1 + 2 * count), refines = byte(begin + 3 + 2 * count) >> 4;
    const bool dc = !progressive_ || (first == 0 && refines == 0), ac = !progressive_ || first != 0;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned id = byte(begin + 1 + 2 * i), tables = byte(begin + 2 + 2 * i);
      if (tables >> 4 > 3 || (tables & 15u) > 3) return nullptr;
      if ((dc && !huffman_[0][tables >> 4]) || (ac && !huffman_[1][tables & 15u]))
        return "a scan with a Huffman table that is not there";
      for (unsigned c = 0; c < components_; ++c)
        if (component_[c].id == id && component_[c].quantization < 4 && !quantization_[component_[c].quantization])
          return "a scan with a quantization table that is not there";
    }
    return nullptr;
  }

  std::span<const std::byte> file_;
  std::size_t max_scans_;
  std::array<std::array<bool, 4>, 2> huffman_{};  // [dc, ac][number]: defined
  std::array<bool, 4> quantization_{};
  std::array<Component, 4> component_{};
  unsigned components_ = 0;
  bool progressive_ = false;
};

inline const char* jpeg_problem(std::span<const std::byte> file, std::size_t max_scans) {
  return JpegCheck(file, max_scans).problem();
}

}  // namespace qwen3vl
