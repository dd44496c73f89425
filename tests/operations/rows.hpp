/// The table's operations on rows: norms, copies by index, interpolation, the best token.
#pragma once

#include <algorithm>

#include "operations/buffers.hpp"

namespace operations {

/// Rows of numbers around `mean`.
template <index_t D>
struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  index_t rows;
  float mean = 0.0f;
  std::string sizes() const { return concat('<', D, ">/", rows); }

  template <class B>
  struct Operands {
    index_t rows;
    std::vector<float> numbers;
    Guarded<B> weight;
    Activations<B> x, y;

    Operands(Context<B>& ctx, const RmsNorm& of, Numbers from = Numbers(D))
        : rows(of.rows), numbers(from.many(rows * D)), weight(ctx, from.many(D)), x(rows * D), y(rows * D) {
      for (float& number : numbers) number += of.mean;
      x.assign(ctx, numbers);
    }
    void call(Context<B>& ctx) {
      rms_norm(ctx, x.template view<dynamic, D>(rows), weight.template input<D>(), 1e-5f,
               y.template view<dynamic, D>(rows));
    }
    Results results(Context<B>& ctx) { return {y.doubles(ctx)}; }
    bool intact() const { return y.intact(); }
  };

  Results bounds(const auto&, Results results) const {
    for (double& value : results[0]) value = (D / 4 + 8) * epsilon * std::abs(value) + 1e-30;
    return results;
  }
};

template <index_t D>
struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  index_t rows;
  float mean = 0.0f;
  std::string sizes() const { return concat('<', D, ">/", rows); }

  template <class B>
  struct Operands : RmsNorm<D>::template Operands<B> {
    std::vector<float> weights = Numbers(D + 2).many(D), biases = Numbers(D + 1).many(D);
    Guarded<B> bias;

    Operands(Context<B>& ctx, const LayerNorm& of)
        : RmsNorm<D>::template Operands<B>(ctx, {of.rows, of.mean}), bias(ctx, biases) {
      this->weight.assign(ctx, weights);
    }
    void call(Context<B>& ctx) {
      layer_norm(ctx, this->x.template view<dynamic, D>(this->rows), this->weight.template input<D>(),
                 bias.template input<D>(), 1e-6f, this->y.template view<dynamic, D>(this->rows));
    }
  };

  /// The mean is rounded to float, which moves every element of x by up to (D / 8 + 4) eps |mean|.
  Results bounds(const auto& of, Results results) const {
    for (index_t r = 0; r < rows; ++r) {
      double mean = 0.0, variance = 0.0;
      const auto x = [&](index_t i) { return static_cast<double>(of.numbers[static_cast<std::size_t>(r * D + i)]); };
      for (index_t i = 0; i < D; ++i) mean += x(i) / D;
      for (index_t i = 0; i < D; ++i) variance += (x(i) - mean) * (x(i) - mean) / D;
      const double scale = 1.0 / std::sqrt(variance + 1e-6);
      for (index_t i = 0; i < D; ++i) {
        const auto c = static_cast<std::size_t>(i);
        double& value = results[0][static_cast<std::size_t>(r * D + i)];
        value =
            (D / 4 + 8) * epsilon * (std::abs(value) + std::abs(static_cast<double>(of.biases[c]))) +
            (D / 8 + 4) * epsilon * (std::abs(mean) + 1.0) * scale * std::abs(static_cast<double>(of.weights[c])) * 2.0;
      }
    }
    return results;
  }
};

/// What goes by an index: `rows` rows, and `all` of which the index names some, in no order.
template <class Operation>
struct IndexedRows {
  index_t rows, all, columns;
  std::string sizes() const { return concat('/', rows, '/', all, '/', columns); }

  template <class B>
  struct Operands {
    index_t rows, all, columns;
    Guarded<B, std::int32_t> index;
    Activations<B> few, many;

    Operands(Context<B>& ctx, const IndexedRows& of, Numbers from = Numbers(11))
        : rows(of.rows),
          all(of.all),
          columns(of.columns),
          index(ctx, of.places()),
          few(ctx, from.many(rows * columns)),
          many(ctx, from.many(all * columns)) {}
    void call(Context<B>& ctx) {
      Operation::run(ctx, few.template view<dynamic, dynamic>(rows, columns),
                     View<const std::int32_t, B, dynamic>(index.data(), rows),
                     many.template view<dynamic, dynamic>(all, columns));
    }
    Results results(Context<B>& ctx) { return {few.doubles(ctx), many.doubles(ctx)}; }
    bool intact() const { return few.intact() && many.intact(); }
  };

  /// `all` is no multiple of 7: no place comes twice.
  std::vector<std::int32_t> places() const {
    std::vector<std::int32_t> index;
    for (index_t i = 0; i < rows; ++i) index.push_back(static_cast<std::int32_t>((7 * i + all - 1) % all));
    return index;
  }
  Results bounds(const auto& of, const Results&) const {
    return {std::vector<double>(static_cast<std::size_t>(of.rows * of.columns), 0.0),
            std::vector<double>(static_cast<std::size_t>(of.all * of.columns), Operation::bound)};
  }
};
struct ScatterRows : IndexedRows<ScatterRows> {
  static constexpr std::string_view name = "scatter_rows";
  static constexpr double bound = 0.0;
  static void run(auto& ctx, auto few, auto index, auto many) { scatter_rows(ctx, few, index, many); }
};
struct AddRows : IndexedRows<AddRows> {
  static constexpr std::string_view name = "add_rows";
  static constexpr double bound = 2 * epsilon;
  static void run(auto& ctx, auto few, auto index, auto many) { add_rows(ctx, few, index, many); }
};
struct GatherRows : IndexedRows<GatherRows> {
  static constexpr std::string_view name = "gather_rows";
  static constexpr double bound = 0.0;
  static void run(auto& ctx, auto few, auto index, auto many) { gather_rows(ctx, many, index, few); }
};
/// The first rows of `all`.
struct CopyRows : IndexedRows<CopyRows> {
  static constexpr std::string_view name = "copy_rows";
  static constexpr double bound = 0.0;
  static void run(auto& ctx, auto few, auto /*index*/, auto many) { copy_rows(ctx, many.slice(0, few.rows()), few); }
};

/// A table of `table` rows, whose corners may be the same.
struct InterpolateAdd {
  static constexpr std::string_view name = "interpolate_add";
  index_t rows, table, columns;
  std::string sizes() const { return concat('/', rows, '/', table, '/', columns); }

  template <class B>
  struct Operands {
    index_t rows, table_rows, columns;
    Guarded<B> table, weights;
    Guarded<B, std::int32_t> corners;
    Activations<B> y;

    Operands(Context<B>& ctx, const InterpolateAdd& of, Numbers from = Numbers(12))
        : rows(of.rows),
          table_rows(of.table),
          columns(of.columns),
          table(ctx, from.many(table_rows * columns)),
          weights(ctx, from.many(rows * 4)),
          corners(ctx, of.corners()),
          y(ctx, from.many(rows * columns)) {}
    void call(Context<B>& ctx) {
      interpolate_add(ctx, table.template view<dynamic, dynamic>(table_rows, columns),
                      corners.template view<dynamic, 4>(rows), weights.template view<dynamic, 4>(rows),
                      y.template view<dynamic, dynamic>(rows, columns));
    }
    Results results(Context<B>& ctx) { return {y.doubles(ctx)}; }
    bool intact() const { return y.intact(); }
  };

  std::vector<std::int32_t> corners() const {
    std::vector<std::int32_t> places;
    for (index_t i = 0; i < rows * 4; ++i) places.push_back(static_cast<std::int32_t>((i * i + i / 2) % table));
    return places;
  }
  Results bounds(const auto&, const Results&) const {
    return {std::vector<double>(static_cast<std::size_t>(rows * columns), 16 * epsilon)};
  }
};

struct Argmax {
  static constexpr std::string_view name = "argmax";
  index_t rows, vocab;
  std::string sizes() const { return concat('/', rows, '/', vocab); }

  template <class B>
  struct Operands {
    index_t rows, vocab;
    Guarded<B> logits;
    Guarded<B, std::int32_t> ids;

    Operands(Context<B>& ctx, const Argmax& of)
        : rows(of.rows), vocab(of.vocab), logits(ctx, Numbers(5).many(rows * vocab)), ids(rows) {}
    void call(Context<B>& ctx) {
      argmax(ctx, logits.template view<dynamic, dynamic>(rows, vocab), ids.template view<dynamic>(rows));
    }
    Results results(Context<B>& ctx) { return {ids.doubles(ctx)}; }
    bool intact() const { return ids.intact(); }
  };

  Results bounds(const auto&, const Results&) const {
    return {std::vector<double>(static_cast<std::size_t>(rows), 0.0)};
  }
};

}  // namespace operations
