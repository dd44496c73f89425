/// The inner loops of resizing 8-bit images: sums of pixels times fixed-point weights, exact in 32 bits, so the order
/// of summation does not matter and all versions give the same bits.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace qwen3vl::detail {

/// For each pixel along one axis: its source pixels and their fixed-point weights.
struct AxisWeights {
  std::vector<std::int32_t> first;   ///< [size]
  std::vector<std::int32_t> count;   ///< [size]
  std::vector<std::int32_t> weight;  ///< [size, taps]
  std::vector<std::int32_t> pairs;   ///< [size, (taps + 1) / 2]: two weights of 16 bits each, if they fit, else empty
  std::int64_t taps = 0;
  int precision = 0;  ///< fractional bits

  void make_pairs() {
    if (!std::ranges::all_of(weight, [](std::int32_t w) { return w == static_cast<std::int16_t>(w); })) return;
    for (std::size_t i = 0; i < first.size(); ++i)
      for (std::int64_t j = 0; j < taps; j += 2) {
        const std::int32_t* const w = weight.data() + static_cast<std::int64_t>(i) * taps + j;
        const std::uint32_t low = static_cast<std::uint16_t>(w[0]),
                            high = j + 1 < taps ? static_cast<std::uint16_t>(w[1]) : 0u;
        pairs.push_back(static_cast<std::int32_t>(low | high << 16));
      }
  }
};

inline std::uint8_t rounded_pixel(std::int32_t sum, int precision) {
  return static_cast<std::uint8_t>(std::clamp(sum >> precision, 0, 255));
}

#if defined(__AVX2__)
/// How to shuffle the bytes of two pixels to words: channel 0 of both, channel 1 of both, and so on.
template <int Channels>
__m128i two_pixels() {
  constexpr char c = Channels;
  const auto at = [](char channel) { return channel < c ? channel : static_cast<char>(-1); };
  const auto next = [](char channel) { return channel < c ? static_cast<char>(channel + c) : static_cast<char>(-1); };
  return _mm_setr_epi8(at(0), -1, next(0), -1, at(1), -1, next(1), -1, at(2), -1, next(2), -1, at(3), -1, next(3), -1);
}
#endif

/// A row of `width` pixels resized to as many as `axis` has.
template <int Channels>
void resize_row(const std::uint8_t* from, std::int32_t width, const AxisWeights& axis, std::uint8_t* to) {
  // Copies, because the bytes written may alias these as far as the compiler knows.
  const std::int32_t* const firsts = axis.first.data();
  const std::int32_t* const counts = axis.count.data();
  const std::int32_t* weights = axis.weight.data();
  const std::int64_t taps = axis.taps;
  const std::size_t size = axis.first.size();
  const int precision = axis.precision;
  const std::int32_t half = 1 << (precision - 1);
#if defined(__AVX2__)
  const std::int32_t* pairs = axis.pairs.data();
  const bool narrow = !axis.pairs.empty();
  const __m128i order = two_pixels<Channels>(), shift = _mm_cvtsi32_si128(precision);
#endif
  for (std::size_t x = 0; x < size; ++x, to += Channels, weights += taps) {
    const std::int32_t first = firsts[x], count = counts[x];
    const std::uint8_t* const pixels = from + static_cast<std::ptrdiff_t>(first) * Channels;
#if defined(__AVX2__)
    // A pixel's channels are summed together, including the bytes after them; at the end of a row there may be none.
    const std::int32_t even = (count + 1) / 2 * 2, room = (width - first) * Channels;
    __m128i sum = _mm_set1_epi32(half);
    bool summed = false;
    const std::int32_t* const own = narrow ? pairs + static_cast<std::int64_t>(x) * ((taps + 1) / 2) : nullptr;
    if (Channels > 1 && narrow && (even - 2) * Channels + 8 <= room) {
      // Two pixels at once, their channels side by side: the weight after the last is zero.
      for (std::int32_t j = 0; j < even; j += 2) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + j * Channels));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_shuffle_epi8(bytes, order), _mm_set1_epi32(own[j / 2])));
      }
      summed = true;
    } else if (Channels > 1 && (count - 1) * Channels + 4 <= room) {
      for (std::int32_t j = 0; j < count; ++j) {
        std::int32_t bytes;
        std::memcpy(&bytes, pixels + j * Channels, sizeof bytes);
        sum = _mm_add_epi32(sum,
                            _mm_mullo_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)), _mm_set1_epi32(weights[j])));
      }
      summed = true;
    }
    if (summed) {
      sum = _mm_sra_epi32(sum, shift);
      const __m128i words = _mm_packs_epi32(sum, sum);  // saturated, like the clamp of rounded_pixel
      const std::int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
      std::memcpy(to, &bytes, Channels);
      continue;
    }
#else
    (void)width;
#endif
    std::int32_t sums[Channels];
    std::fill_n(sums, Channels, half);
    for (std::int32_t j = 0; j < count; ++j)
      for (int c = 0; c < Channels; ++c) sums[c] += weights[j] * pixels[j * Channels + c];
    for (int c = 0; c < Channels; ++c) to[c] = rounded_pixel(sums[c], precision);
  }
}

#if defined(__AVX2__)
/// The first multiple of 32 of the columns of `weighted_rows`; returns how many. Weights of 16 bits are multiplied in
/// pairs of rows, wider ones one by one.
inline std::size_t weighted_rows_avx2(const std::uint8_t* from, std::size_t size, const std::int32_t* weights,
                                      std::int32_t count, int precision, std::uint8_t* to) {
  const __m128i shift = _mm_cvtsi32_si128(precision);
  const __m256i half = _mm256_set1_epi32(1 << (precision - 1));
  const bool narrow = std::all_of(weights, weights + count, [](std::int32_t w) { return w == std::int16_t(w); });
  std::size_t i = 0;
  for (; i + 32 <= size; i += 32) {
    __m256i sums[4] = {half, half, half, half};  // columns 0-3 and 8-11, 4-7 and 12-15, and so on, as unpacking gives
    for (std::int32_t j = 0; j < count; j += 2) {
      const bool pair = j + 1 < count;
      const std::uint8_t* const row = from + static_cast<std::size_t>(j) * size + i;
      const std::uint8_t* const next = pair ? row + size : row;
      const std::int32_t second = pair ? weights[j + 1] : 0;
      for (int v = 0; v < 2; ++v) {
        const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 16 * v)));
        const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(next + 16 * v)));
        const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
        if (narrow) {
          const __m256i both = _mm256_set1_epi32((second << 16) | (weights[j] & 0xffff));
          sums[2 * v] = _mm256_add_epi32(sums[2 * v], _mm256_madd_epi16(low, both));
          sums[2 * v + 1] = _mm256_add_epi32(sums[2 * v + 1], _mm256_madd_epi16(high, both));
        } else {
          const __m256i w = _mm256_set1_epi32(weights[j]), w2 = _mm256_set1_epi32(second);
          const __m256i mask = _mm256_set1_epi32(0xffff);
          const auto term = [&](__m256i x) {
            return _mm256_add_epi32(_mm256_mullo_epi32(_mm256_and_si256(x, mask), w),
                                    _mm256_mullo_epi32(_mm256_srli_epi32(x, 16), w2));
          };
          sums[2 * v] = _mm256_add_epi32(sums[2 * v], term(low));
          sums[2 * v + 1] = _mm256_add_epi32(sums[2 * v + 1], term(high));
        }
      }
    }
    for (__m256i& sum : sums) sum = _mm256_sra_epi32(sum, shift);
    // Packing saturates, like the clamp of rounded_pixel, and restores the column order except for the middle quarters.
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_permute4x64_epi64(bytes, 0xd8));
  }
  return i;
}
#endif

/// One row of `size` numbers: the sum of `count` rows from `from` on, each times its weight.
inline void weighted_rows(const std::uint8_t* from, std::size_t size, const std::int32_t* weights, std::int32_t count,
                          int precision, std::uint8_t* to) {
  std::size_t done = 0;
#if defined(__AVX2__)
  done = weighted_rows_avx2(from, size, weights, count, precision, to);
#endif
  constexpr std::size_t step = 64;  // columns whose sums stay in the L1 cache
  for (; done < size; done += step) {
    const std::size_t columns = std::min(step, size - done);
    std::int32_t sums[step];
    std::fill_n(sums, columns, 1 << (precision - 1));
    for (std::int32_t j = 0; j < count; ++j) {
      const std::uint8_t* const row = from + static_cast<std::size_t>(j) * size + done;
      for (std::size_t i = 0; i < columns; ++i) sums[i] += weights[j] * row[i];
    }
    for (std::size_t i = 0; i < columns; ++i) to[done + i] = rounded_pixel(sums[i], precision);
  }
}

}  // namespace qwen3vl::detail
