/// Precision: the types of weights and of the key/value cache. Activations are the backend's choice (f32 on the CPU),
/// sums are always at least f32.
///
/// A precision is any struct with
///   Weight         the type of the text model's weights: float, bf16, bf16_dot, q8, q4, q8_dot, q4_dot,
///                  stored, fp8 or fp8_blocks
///   Kv             the type of cached keys and values
///   name
/// and, where they differ from Weight,
///   VisionWeight   of the vision tower with its mergers
///   RouterWeight   of the gate of a mixture of experts
///   HeadWeight     of the token embedding and the head (one matrix where they are tied)
#pragma once

#include <concepts>
#include <string_view>

#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl {

/// bf16 weights whose products may also round activations to bf16. Processors with bf16 dot products (AVX-512 BF16)
/// then do twice as many multiply-adds; elsewhere products are those of bf16.
struct bf16_dot {
  static constexpr std::string_view name = "bf16-dot";
};

/// Weights in blocks of 32 columns of a row, rounded once when they are loaded (from f32, bf16 or f16). Eight blocks
/// share a bf16 scale s, and a block has an integer scale of its own, so that a product can stay in integers over 256
/// columns. Memory layouts differ between backends; the bits per weight are the CPU's.
///   q8: w = s * a * q, q in [-127, 127], a in [1, 127]; 8.3125 bits per weight.
struct q8 {
  static constexpr std::string_view name = "q8";
};
///   q4: w = s * (a * q + 16 * b), q in [0, 15], a in [1, 255], b in [-128, 127]; 4.5625 bits per weight. a and b are
///   searched for the least squared error.
struct q4 {
  static constexpr std::string_view name = "q4";
};
/// A block weight type.
template <class W>
concept BlockWeight = std::same_as<W, q8> || std::same_as<W, q4>;

/// The weights of q8 and q4, bit for bit, whose products may round activations to 8 bits: in groups of 32 columns of a
/// row, each with an f32 scale. That is up to twice as fast as the 16-bit integers that products with q8 and q4 round
/// activations to, where processors multiply bytes: with AVX-512 VNNI and AVX-VNNI, q4_dot also with AVX2 and AVX-512.
/// Elsewhere (q8_dot with AVX2, processors with AMX) products are those of q8 and q4.
struct q8_dot {
  using Blocks = q8;  ///< the type of the same weights
  static constexpr std::string_view name = "q8-dot";
};
struct q4_dot {
  using Blocks = q4;
  static constexpr std::string_view name = "q4-dot";
};
/// A block weight type whose activations are rounded to 8 bits.
template <class W>
concept BlockDotWeight = std::same_as<W, q8_dot> || std::same_as<W, q4_dot>;

/// Weights as the file has them, matrix by matrix, nothing rounded: f32, bf16, f16, and the blocks of integers of
/// BlockForm (tensor/encoded_rows.hpp), which are multiplied as they are. Rows whose form no kernel knows
/// (BlockForm::none) become bf16, or what BlockLayout::widened says. What a matrix keeps is known when the tensors that
/// fill it are (expect_rows()). On GPUs e4m3 stays as with fp8_blocks, and everything else becomes bf16.
struct stored {
  static constexpr std::string_view name = "stored";
};

/// FP8 weights, for GPUs of compute capability 8.9 and later; the CPU has none. w = s * q, with q of type f8_e4m3 and
/// one f32 scale s for each row (output): the largest magnitude of the row over 448. Rounded once when they are loaded
/// (from f32, bf16 or f16): each by at most 2^-4 of itself, or where that is more 2^-10 s. 8 bits per weight. Products
/// of up to eight rows do not round activations. Larger ones may round them to f8_e4m3, with a scale per row, so that
/// tensor cores multiply FP8 at twice the speed of bf16.
struct fp8 {
  static constexpr std::string_view name = "fp8";
};

/// FP8 weights as FP8 checkpoints have them, for GPUs of compute capability 8.0 and later; the CPU has none. w = s * q,
/// with q of type f8_e4m3 and an f32 scale s for each row and each 128 columns, 8.25 bits per weight. What a file has
/// in e4m3 with scales for blocks of 128 x 128, for rows or for a whole tensor is kept, bits and scales. Other weights
/// are rounded once when they are loaded, as with fp8, but by 128 columns. Products do not round activations.
struct fp8_blocks {
  static constexpr std::string_view name = "fp8-blocks";
};

/// Weights as stored, nothing rounded.
struct F32 {
  using Weight = float;
  using Kv = float;
  static constexpr std::string_view name = "f32";
};

/// bf16 weights, the type of the released checkpoints. The cache is f32: results equal those of transformers computed
/// in float32 with the same weights.
struct Bf16 {
  using Weight = bf16;
  using Kv = float;
  static constexpr std::string_view name = "bf16";
};

/// bf16 weights and, in products, bf16 activations where that is faster: as llama.cpp computes with bf16 files, and
/// less rounding than transformers' bfloat16, which also stores everything between products in bf16. The router stays
/// exact: a rounded one chooses other experts.
struct Bf16Dot {
  using Weight = bf16_dot;
  using RouterWeight = bf16;
  using Kv = float;
  static constexpr std::string_view name = "bf16-dot";
};

/// 8-bit weights. The vision tower is that of Bf16Dot: its weights take little memory, and their error would affect
/// every token. The router stays exact: a rounded one chooses other experts. Keys and values are in f16, whose rounding
/// is far below that of the weights.
struct Q8 {
  using Weight = q8;
  using VisionWeight = bf16_dot;
  using RouterWeight = bf16;
  using Kv = f16;
  static constexpr std::string_view name = "q8";
};

/// 4-bit weights; the rest as Q8.
struct Q4 : Q8 {
  using Weight = q4;
  static constexpr std::string_view name = "q4";
};

/// The weights of Q8, and products with activations of 8 bits in groups of 32 columns where that is faster: as
/// llama.cpp multiplies Q8_0 files. The rest as Q8.
struct Q8Dot : Q8 {
  using Weight = q8_dot;
  static constexpr std::string_view name = "q8-dot";
};

/// The weights of Q4; the rest as Q8Dot.
struct Q4Dot : Q8 {
  using Weight = q4_dot;
  static constexpr std::string_view name = "q4-dot";
};

/// What a file has, in the text model and in the vision tower: of a quantised checkpoint its blocks, else the numbers
/// of its type. Keys and values are in f16, as in Q8; on GPUs take WithKv<Stored, bf16>.
struct Stored {
  using Weight = stored;
  using Kv = f16;
  static constexpr std::string_view name = "stored";
};

/// FP8 weights, on GPUs; the vision tower and the router stay bf16. The head is rounded as well: it is a fifth of what
/// decoding 2B reads. Keys and values are in bf16; WithKv<Fp8, f8_e4m3> halves them.
struct Fp8 {
  using Weight = fp8;
  using VisionWeight = bf16;
  using RouterWeight = bf16;
  using Kv = bf16;
  static constexpr std::string_view name = "fp8";
};

/// Official FP8 checkpoints as they are, on GPUs: nothing is rounded. What those do not store in FP8, the vision tower,
/// the router, the embedding and the head, is in bf16.
struct Fp8Blocks {
  using Weight = fp8_blocks;
  using VisionWeight = bf16;
  using RouterWeight = bf16;
  using HeadWeight = bf16;
  using Kv = bf16;
  static constexpr std::string_view name = "fp8-blocks";
};

namespace detail {
template <class P>
auto vision_weight() -> typename P::Weight;
template <class P>
requires requires { typename P::VisionWeight; }
auto vision_weight() -> typename P::VisionWeight;
template <class P>
auto router_weight() -> typename P::Weight;
template <class P>
requires requires { typename P::RouterWeight; }
auto router_weight() -> typename P::RouterWeight;
template <class P>
auto head_weight() -> typename P::Weight;
template <class P>
requires requires { typename P::HeadWeight; }
auto head_weight() -> typename P::HeadWeight;
}  // namespace detail

namespace detail {
template <class W>
struct StoredWeight {
  using type = void;
};
template <>
struct StoredWeight<float> {
  using type = float;
};
template <>
struct StoredWeight<bf16> {
  using type = bf16;
};
template <>
struct StoredWeight<bf16_dot> {
  using type = bf16;
};
template <>
struct StoredWeight<q8> {
  using type = float;
};
template <>
struct StoredWeight<q4> {
  using type = float;
};
template <BlockDotWeight W>
struct StoredWeight<W> {
  using type = float;
};
template <>
struct StoredWeight<stored> {
  using type = float;
};
}  // namespace detail

/// The type of a file that holds weights of type W exactly, of blocks what they multiply out to: a scale of 8 bits
/// times an integer of up to 15 has too many for bf16. Void for fp8.
template <class W>
using stored_weight_t = typename detail::StoredWeight<W>::type;

/// Weight types of the parts of a model under precision P: its own for a part, else P::Weight.
template <class P>
using vision_weight_t = decltype(detail::vision_weight<P>());
template <class P>
using router_weight_t = decltype(detail::router_weight<P>());
template <class P>
using head_weight_t = decltype(detail::head_weight<P>());

/// Precision P with keys and values in T (float, bf16 or f16, on GPUs f8_e4m3), such as `WithKv<Bf16, f16>`. Half the
/// bytes double the speed of decoding at long contexts; each key and value is rounded once (2^-11 relative for f16,
/// 2^-8 for bf16, 2^-4 for f8_e4m3, which saturates at 448). Normalised keys are far inside f16's range of 65504; use
/// bf16 for a model whose values exceed it.
template <class P, class T>
struct WithKv : P {
  using Kv = T;
};

}  // namespace qwen3vl
