/// Checks of an operation's results, and of an operation of the table against double precision.
#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "operations/buffers.hpp"

namespace operations {

/// Checks an output element by element. bound[i] is the allowed error; it follows from the operands.
[[gnu::noinline]] inline void check(const std::vector<double>& values, const std::vector<double>& expected,
                                    const std::vector<double>& bound, const std::string& what) {
  BOOST_REQUIRE(values.size() == expected.size());
  BOOST_REQUIRE(values.size() == bound.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::abs(values[i] - expected[i]) <= bound[i]) continue;  // NaN fails
    BOOST_TEST(false,
               what << ": element " << i << " is " << values[i] << ", wanted " << expected[i] << " +- " << bound[i]);
    return;
  }
}
template <class B, class T>
void check(Context<B>& ctx, Guarded<B, T>& output, const std::vector<double>& expected,
           const std::vector<double>& bound, const std::string& what) {
  BOOST_TEST(output.intact(), what << ": wrote beside its output");
  check(output.doubles(ctx), expected, bound, what);
}

/// All outputs of an operation. No template, and nothing of Boost in one: this is compiled once for hundreds of shapes.
[[gnu::noinline]] inline void check(bool intact, const Results& got, const Results& expected, const Results& bounds,
                                    const std::string& what) {
  BOOST_TEST(intact, what << ": wrote beside its outputs");
  BOOST_REQUIRE(got.size() == bounds.size());
  for (std::size_t i = 0; i < got.size(); ++i) check(got[i], expected[i], bounds[i], concat(what, ", output ", i));
}

/// Runs an operation of the table on B, with these operands, and in double precision on the same ones.
template <class B, class Operation>
void check_operation(Context<B>& ctx, const Operation& operation, typename Operation::template Operands<B>& operands) {
  operands.call(ctx);
  Results expected;
  if constexpr (requires { operation.expected(ctx, operands); }) {
    expected = operation.expected(ctx, operands);
  } else {
    expected = exact_results(operation);
  }
  check(operands.intact(), operands.results(ctx), expected, operation.bounds(operands, expected),
        concat(Operation::name, operation.sizes()));
}
template <class B, class Operation>
void check_operation(Context<B>& ctx, const Operation& operation) {
  typename Operation::template Operands<B> operands(ctx, operation);
  check_operation(ctx, operation, operands);
}

/// Rows [first, first + part / width) of `whole`, computed alone, to the last bit.
[[gnu::noinline]] inline void check_alone(const std::vector<double>& part, const std::vector<double>& whole,
                                          index_t first, index_t width, const std::string& what) {
  BOOST_TEST(std::equal(part.begin(), part.end(), whole.begin() + first * width),
             what << ": other results alone, from row " << first);
}

}  // namespace operations
