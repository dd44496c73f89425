// Two translation units that include everything must link: nothing is defined twice.
#include "qwen3vl/qwen3vl.hpp"

int other_unit();

int main() {
  const qwen3vl::GridThw grid{1, 4, 4};
  return grid.tokens(2) == 4 && other_unit() == 4 ? 0 : 1;
}
