/// `stored` weights: every form, matrices of several forms, and what is read back, against double precision. The forms
/// are run-time values, so that few shapes are compiled.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/check.hpp"
#include "operations/products.hpp"
#include "support/random_blocks.hpp"

namespace operations {

/// Rows of a matrix as a file has them: numbers of a dtype, or blocks.
class StoredRowsOf {
 public:
  StoredRowsOf(index_t rows, index_t columns, DType dtype, unsigned seed) : shape_{rows, columns}, dtype_(dtype) {
    const std::vector<float> values = Numbers(seed).many(rows * columns);
    bytes_.resize(values.size() * size_of(dtype));
    visit_floating(dtype, [&](auto type) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        type = static_cast<decltype(type)>(values[i]);
        std::memcpy(bytes_.data() + i * sizeof type, &type, sizeof type);
        values_.push_back(static_cast<float>(type));
      }
    });
  }
  StoredRowsOf(index_t rows, index_t columns, const BlockLayout& layout, unsigned seed)
      : shape_{rows, columns}, blocks_(std::make_unique<RandomBlocks>(rows, columns, layout, seed)) {
    update();
  }
  /// After a change of `blocks()`.
  void update() {
    values_.resize(static_cast<std::size_t>(shape_[0] * shape_[1]));
    blocks_->read(0, shape_[0], values_.data());
    if (blocks_->blocks().form == BlockForm::none && blocks_->blocks().widened == DType::bf16)
      for (float& value : values_) value = static_cast<float>(static_cast<bf16>(value));
  }

  RawTensor raw() const { return {.dtype = dtype_, .data = bytes_.data(), .shape = shape_, .encoded = blocks_.get()}; }
  index_t rows() const { return shape_[0]; }
  const std::vector<float>& values() const { return values_; }
  RandomBlocks& blocks() { return *blocks_; }
  bool has_integers() const {
    return blocks_ && blocks_->blocks().form != BlockForm::none && blocks_->blocks().form != BlockForm::e4m3;
  }

 private:
  index_t shape_[2];
  DType dtype_ = DType::f32;
  std::vector<std::byte> bytes_;
  std::unique_ptr<RandomBlocks> blocks_;
  std::vector<float> values_;
};

struct NamedLayout {
  std::string name;
  BlockLayout layout;
};
/// Of any number of columns, and of multiples of 256.
inline std::vector<NamedLayout> flat_layouts() {
  std::vector<NamedLayout> layouts;
  for (const DType scale : {DType::f16, DType::bf16, DType::f32})
    for (const index_t group : {32, 128}) {
      const std::string name = concat(" of ", group, ", scales ", name_of(scale));
      layouts.push_back({"bytes" + name, {BlockForm::bytes, group, scale}});
      layouts.push_back({"nibbles" + name, {BlockForm::nibbles, group, scale, 8}});
      layouts.push_back({"nibbles with offsets" + name, {BlockForm::nibbles, group, scale}});
    }
  layouts.push_back({"bytes of a row", {BlockForm::bytes, 100000}});
  layouts.push_back({"e4m3 of 128", {BlockForm::e4m3, 128}});
  layouts.push_back({"e4m3 of 32", {BlockForm::e4m3, 32}});
  layouts.push_back({"e4m3 of a row", {BlockForm::e4m3, 100000}});
  layouts.push_back({"none", {BlockForm::none, 32}});
  layouts.push_back({"none, as f32", {.form = BlockForm::none, .group = 32, .widened = DType::f32}});
  return layouts;
}
inline std::vector<NamedLayout> deep_layouts() {
  return {{"q4_k", {BlockForm::q4_k}}, {"q5_k", {BlockForm::q5_k}}, {"q6_k", {BlockForm::q6_k}}};
}

/// A matrix from `parts`, in order.
template <class Matrix, class B>
std::unique_ptr<Matrix> stored_matrix(Context<B>& ctx, const std::vector<const StoredRowsOf*>& parts) {
  auto matrix = std::make_unique<Matrix>();
  index_t row = 0;
  for (const StoredRowsOf* part : parts) {
    matrix->expect_rows(row, part->raw());
    row += part->rows();
  }
  matrix->allocate();
  row = 0;
  for (const StoredRowsOf* part : parts) {
    matrix->load_rows(ctx, row, part->raw());
    row += part->rows();
  }
  return matrix;
}
inline std::vector<float> values_of(const std::vector<const StoredRowsOf*>& parts) {
  std::vector<float> all;
  for (const StoredRowsOf* part : parts) all.insert(all.end(), part->values().begin(), part->values().end());
  return all;
}

/// linear() with these weights, for many numbers of rows: near the exact result, and for each row the same alone.
template <class B, index_t N, index_t K, class E>
void stored_case(Context<B>& ctx, const std::string& what, const std::vector<const StoredRowsOf*>& parts) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>, adds = std::is_same_v<E, epilogue::Add>;
  constexpr index_t width = epilogue::width<E, N>, most_rows = 31;
  const auto matrix =
      stored_matrix<typename B::template Matrix<stored, N, K, gated ? Packing::gate_up : Packing::plain>>(ctx, parts);
  const std::vector<float> weights = values_of(parts);
  bool rounds = false;
  for (const StoredRowsOf* part : parts) rounds = rounds || part->has_integers();

  Numbers numbers(N + K);
  std::vector<float> x = numbers.many(most_rows * K), bias = numbers.many(N), before = numbers.many(most_rows * width);
  x[K + 3] *= 1000.0f;  // an outlier
  std::fill_n(x.begin() + 2 * K, K, 0.0f);
  const auto run = [&](index_t first, index_t rows) {
    Guarded<B> input(ctx, {x.begin() + first * K, x.begin() + (first + rows) * K}), bias_buffer(ctx, bias);
    Guarded<B> output(ctx, {before.begin() + first * width, before.begin() + (first + rows) * width});
    linear(ctx, input.template view<dynamic, K>(rows), *matrix, bias_buffer.template input<N>(),
           output.template view<dynamic, width>(rows), E{});
    BOOST_TEST(output.intact(), what << ": wrote beside its output");
    return output.doubles(ctx);
  };
  const ProductErrors errors{N, K, rounds ? &activation_error<q8, float> : &activation_error<float, float>, 0.0, 0.0};
  std::vector<double> expected;
  for (index_t r = 0; r < most_rows; ++r) {
    const ProductErrors::Row row = errors(x.data() + r * K, weights.data(), bias.data());
    for (std::size_t n = 0; n < static_cast<std::size_t>(width); ++n) {
      const double z = row.z[n], old = static_cast<double>(before[static_cast<std::size_t>(r * width) + n]);
      expected.push_back(gated  ? z / (1.0 + std::exp(-z)) * row.z[n + static_cast<std::size_t>(width)]
                         : adds ? old + z
                                : z);
    }
  }
  const std::vector<double> together = run(0, most_rows);
  check(together, expected,
        errors.bounds(most_rows, x, weights, bias, adds ? before : std::vector<float>(), gated, expected), what);
  for (const index_t rows : {1, 2, 3, 4, 5, 14})
    for (index_t first = 0; first + rows <= most_rows; first += 13)
      check_alone(run(first, rows), together, first, width, what);
}

/// What the embedding gives is what the file defines, to the last bit.
template <class B, index_t N, index_t K>
void stored_embedding_case(Context<B>& ctx, const std::string& what, const std::vector<const StoredRowsOf*>& parts) {
  const auto matrix = stored_matrix<typename B::template Matrix<stored, N, K, Packing::plain>>(ctx, parts);
  std::vector<std::int32_t> ids;
  for (std::int32_t n = N - 1; n >= 0; --n) ids.push_back(n);
  Guarded<B, std::int32_t> id_buffer(ctx, ids);
  Guarded<B> rows(N * K);
  embedding(ctx, id_buffer.template input<dynamic>(N), *matrix, rows.template view<dynamic, K>(N));
  const std::vector<float> got = rows.values(ctx), values = values_of(parts);
  for (index_t i = 0; i < N * K; ++i) {
    const float a = got[static_cast<std::size_t>((N - 1 - i / K) * K + i % K)], b = values[static_cast<std::size_t>(i)];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    BOOST_TEST(false, what << ": weight " << i / K << ", " << i % K << " is " << a << ", wanted " << b);
    return;
  }
}

/// Scales that are zero, infinite or NaN, and an e4m3 NaN: in row 0 they make one output what it has to be, elsewhere
/// nothing changes.
template <class B, index_t N, index_t K>
void stored_extreme_case(Context<B>& ctx, const NamedLayout& layout) {
  for (const float scale : {0.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    StoredRowsOf part(N, K, layout.layout, 5);
    part.blocks().scale(0, 0) = scale;
    if (layout.layout.form == BlockForm::e4m3) part.blocks().q(1, 7) = 0x7f;
    part.update();
    const auto matrix = stored_matrix<typename B::template Matrix<stored, N, K, Packing::plain>>(ctx, {&part});
    for (const index_t rows : {1, 6}) {
      Guarded<B> input(ctx, Numbers(3).many(rows * K)), output(rows * N);
      linear(ctx, input.template view<dynamic, K>(rows), *matrix, View<const float, B, N>(),
             output.template view<dynamic, N>(rows), epilogue::Store{});
      const std::vector<float> y = output.values(ctx);
      for (index_t r = 0; r < rows; ++r) {
        const auto at = [&](index_t n) { return y[static_cast<std::size_t>(r * N + n)]; };
        BOOST_TEST(std::isfinite(at(0)) == std::isfinite(scale),
                   layout.name << ": scale " << scale << " gave " << at(0));
        BOOST_TEST(std::isnan(at(1)) == (layout.layout.form == BlockForm::e4m3), layout.name << " gave " << at(1));
        BOOST_TEST(std::isfinite(at(2)));
      }
    }
  }
}

/// Tokens of a mixture whose experts are `gate_up` [E, 2 I, D] and `down` [E, D, I].
template <class B, index_t E, index_t TopK, index_t D, index_t I>
void stored_expert_case(Context<B>& ctx, const std::string& what, const StoredRowsOf& gate_up,
                        const StoredRowsOf& down) {
  typename B::template Experts<stored, E, 2 * I, D, Packing::gate_up> packed_gate_up;
  typename B::template Experts<stored, E, D, I, Packing::plain> packed_down;
  const index_t shapes[2][3] = {{E, 2 * I, D}, {E, D, I}};
  const auto load = [&](auto& packed, const StoredRowsOf& rows, const index_t(&shape)[3]) {
    RawTensor raw = rows.raw();
    raw.shape = shape;
    for (index_t e = 0; e < E; ++e) packed.expect_expert(e, raw.matrix(e), false);
    packed.allocate();
    for (index_t e = 0; e < E; ++e) packed.load_expert(ctx, e, raw.matrix(e), false);
  };
  load(packed_gate_up, gate_up, shapes[0]);
  load(packed_down, down, shapes[1]);
  constexpr index_t most = 17;
  Numbers numbers(7);
  const std::vector<float> x = numbers.many(most * D), shares = numbers.many(most * TopK);
  std::vector<std::int32_t> choices;
  for (std::int32_t t = 0; t < most; ++t)
    for (std::int32_t j = 0; j < TopK; ++j) choices.push_back(t % 3 == 0 ? j : (t + j) % E);
  const auto run = [&](index_t first, index_t tokens) {
    Guarded<B> input(ctx, {x.begin() + first * D, x.begin() + (first + tokens) * D});
    Guarded<B> share(ctx, {shares.begin() + first * TopK, shares.begin() + (first + tokens) * TopK});
    Guarded<B, std::int32_t> chosen(ctx, {choices.begin() + first * TopK, choices.begin() + (first + tokens) * TopK});
    Guarded<B> y(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D), 0.0f));
    expert_mlp<TopK>(ctx, input.template view<dynamic, D>(tokens), chosen.template view<dynamic, TopK>(tokens),
                     share.template view<dynamic, TopK>(tokens), packed_gate_up, packed_down,
                     y.template view<dynamic, D>(tokens));
    return y.doubles(ctx);
  };
  const std::vector<double> together = run(0, most);
  for (index_t first = 0; first + 1 <= most; first += 3) check_alone(run(first, 1), together, first, D, what);
  double error = 0.0, size = 0.0;
  for (index_t t = 0; t < most; ++t)
    for (index_t d = 0; d < D; ++d) {
      double sum = 0.0;
      for (index_t j = 0; j < TopK; ++j) {
        const index_t e = choices[static_cast<std::size_t>(t * TopK + j)];
        const auto product = [&](const StoredRowsOf& of, index_t row, index_t columns, auto&& value) {
          double z = 0.0;
          for (index_t k = 0; k < columns; ++k)
            z += static_cast<double>(of.values()[static_cast<std::size_t>(row * columns + k)]) * value(k);
          return z;
        };
        // Each output needs all activations: computed once per token and choice.
        static thread_local std::vector<double> activated;
        if (d == 0 || static_cast<index_t>(activated.size()) != TopK * I)
          activated.resize(static_cast<std::size_t>(TopK * I));
        if (d == 0)
          for (index_t i = 0; i < I; ++i) {
            const auto value = [&](index_t k) { return static_cast<double>(x[static_cast<std::size_t>(t * D + k)]); };
            const double gate = product(gate_up, e * 2 * I + i, D, value);
            activated[static_cast<std::size_t>(j * I + i)] =
                gate / (1.0 + std::exp(-gate)) * product(gate_up, e * 2 * I + I + i, D, value);
          }
        sum += static_cast<double>(shares[static_cast<std::size_t>(t * TopK + j)]) *
               product(down, e * D + d, I, [&](index_t k) { return activated[static_cast<std::size_t>(j * I + k)]; });
      }
      const double difference = together[static_cast<std::size_t>(t * D + d)] - sum;
      error += difference * difference;
      size += sum * sum;
    }
  BOOST_TEST(std::sqrt(error / size) < 1e-3, what << ": relative error " << std::sqrt(error / size));
}

template <class B>
void all_stored_cases(Context<B>& ctx) {
  std::vector<NamedLayout> layouts = flat_layouts();
  for (const NamedLayout& layout : layouts) {
    const StoredRowsOf odd(45, 300, layout.layout, 3);
    stored_case<B, 45, 300, epilogue::Store>(ctx, layout.name, {&odd});
    stored_embedding_case<B, 45, 300>(ctx, layout.name, {&odd});
    if (layout.layout.form != BlockForm::none) stored_extreme_case<B, 45, 300>(ctx, layout);
  }
  for (const NamedLayout& layout : deep_layouts()) layouts.push_back(layout);
  for (const NamedLayout& layout : layouts) {
    if (layout.layout.scale_type == DType::bf16) continue;
    const StoredRowsOf gates(37, 768, layout.layout, 1), ups(37, 768, layout.layout, 2);
    stored_case<B, 74, 768, epilogue::SwiGlu>(ctx, layout.name, {&gates, &ups});
    const StoredRowsOf rows(70, 512, layout.layout, 3);
    stored_case<B, 70, 512, epilogue::Add>(ctx, layout.name, {&rows});
    stored_embedding_case<B, 70, 512>(ctx, layout.name, {&rows});
    if (layout.layout.form != BlockForm::none) stored_extreme_case<B, 70, 512>(ctx, layout);
  }
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const StoredRowsOf rows(45, 300, dtype, 4);
    stored_case<B, 45, 300, epilogue::Store>(ctx, std::string(name_of(dtype)), {&rows});
    stored_embedding_case<B, 45, 300>(ctx, std::string(name_of(dtype)), {&rows});
  }
  // Two tensors of any two forms, with a panel that has rows of both.
  std::vector<std::unique_ptr<StoredRowsOf>> firsts, seconds;
  for (const NamedLayout& layout : layouts) {
    firsts.push_back(std::make_unique<StoredRowsOf>(37, 512, layout.layout, 6));
    seconds.push_back(std::make_unique<StoredRowsOf>(33, 512, layout.layout, 7));
  }
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    firsts.push_back(std::make_unique<StoredRowsOf>(37, 512, dtype, 6));
    seconds.push_back(std::make_unique<StoredRowsOf>(33, 512, dtype, 7));
  }
  for (std::size_t i = 0; i < firsts.size(); ++i)
    for (std::size_t j = i % 3; j < seconds.size(); j += 3) {
      if (layouts[std::min(i, layouts.size() - 1)].layout.form == BlockForm::none ||
          layouts[std::min(j, layouts.size() - 1)].layout.form == BlockForm::none)
        continue;  // beside others they are not always rounded to bf16
      stored_embedding_case<B, 70, 512>(ctx, concat("forms ", i, " and ", j), {firsts[i].get(), seconds[j].get()});
      if ((i + j) % 13 == 0)
        stored_case<B, 70, 512, epilogue::Add>(ctx, concat("forms ", i, " and ", j),
                                               {firsts[i].get(), seconds[j].get()});
    }
  // Gates and ups that are stored differently.
  const StoredRowsOf gates(37, 768, BlockLayout{BlockForm::q4_k}, 1), ups(37, 768, BlockLayout{BlockForm::q5_k}, 2);
  stored_case<B, 74, 768, epilogue::SwiGlu>(ctx, "gates in q4_k, ups in q5_k", {&gates, &ups});
  const StoredRowsOf other(37, 768, DType::bf16, 2);
  stored_case<B, 74, 768, epilogue::SwiGlu>(ctx, "gates in q4_k, ups in bf16", {&gates, &other});

  const StoredRowsOf gate_up(4 * 160, 256, BlockLayout{BlockForm::q4_k}, 8), down(4 * 256, 80, DType::bf16, 9);
  stored_expert_case<B, 4, 2, 256, 80>(ctx, "experts in q4_k and bf16", gate_up, down);
  const StoredRowsOf nibbles(4 * 256, 80, BlockLayout{BlockForm::nibbles, 32, DType::f16, 8}, 9);
  stored_expert_case<B, 4, 2, 256, 80>(ctx, "experts in q4_k and nibbles", gate_up, nibbles);
  const StoredRowsOf floats(4 * 160, 256, BlockLayout{BlockForm::e4m3, 128}, 8);
  stored_expert_case<B, 4, 2, 256, 80>(ctx, "experts in e4m3 and nibbles", floats, nibbles);
}

}  // namespace operations
