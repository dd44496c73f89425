/// A roofline plot (Williams, Waterman and Patterson 2009) as SVG: operations per byte against operations per second,
/// the roof over them, one point for each layer, coloured by operation; the extremes of each operation have a label.
#pragma once

#include <string>
#include <vector>

#include "roof.hpp"

namespace qwen3vl::bench {

struct RooflinePoint {
  std::string name;  ///< the precision comes first, up to the first '/'
  double operations_per_second = 0.0;
  double bytes_per_second = 0.0;
  double percent_of_roof = 0.0;
};

/// The plot as text. Points without operations or bytes are left out.
std::string roofline_svg(const std::string& title, const Roof& roof, const std::vector<RooflinePoint>& points);

}  // namespace qwen3vl::bench
