// Runs one set of the rope types' table:   parity-rope TYPES.json SET      (exit codes as parity_model.cpp)
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "golden_case.hpp"
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/text/rotary_embedding.hpp"

namespace parity {
namespace {

struct Tables {
  std::vector<float> cos, sin;  // [tokens, head_dim / 2]
};

/// Every mrope_section of TYPES.json, listed by CMakeLists.txt: a section is compile-time in the library.
constexpr std::array<index_t, 3> sections[] = {QWEN3VL_MROPE_SECTIONS};

/// Tables of `section` if it is number `I` of the list. Returns whether it is.
template <std::size_t I>
bool compute(const std::vector<index_t>& section, Context<Cpu>& ctx,
             View<const std::int32_t, Cpu, 3, dynamic> positions, const RotaryFrequencies& rotary, Tables& tables) {
  constexpr auto S = sections[I];
  constexpr index_t frequencies = S[0] + S[1] + S[2];
  if (!std::ranges::equal(section, S)) return false;
  const index_t tokens = positions.extent(1);
  tables.cos.resize(static_cast<std::size_t>(tokens * frequencies));
  tables.sin.resize(tables.cos.size());
  rope_tables<S[0], S[1], S[2]>(ctx, positions, View<const float, Cpu, frequencies>(rotary.inv_freq.data()),
                                rotary.attention_scaling,
                                View<float, Cpu, dynamic, frequencies>(tables.cos.data(), tokens),
                                View<float, Cpu, dynamic, frequencies>(tables.sin.data(), tokens));
  return true;
}

std::vector<float> both_halves(const std::vector<float>& half, index_t width) {
  std::vector<float> whole;
  for (index_t row = 0; row < static_cast<index_t>(half.size()); row += width)
    for (int copy = 0; copy < 2; ++copy) whole.insert(whole.end(), half.begin() + row, half.begin() + row + width);
  return whole;
}

Exit run(const std::filesystem::path& file, const std::string& name) {
  GoldenCase golden(file);
  const json& set = golden.options().at("sets").at(name);
  const auto head_dim = set.at("head_dim").get<index_t>();
  const auto section = set.at("mrope_section").get<std::vector<index_t>>();
  // As a config.json has it, so that the reader is part of the test.
  json text = {{"hidden_size", 3584},
               {"head_dim", head_dim},
               {"rope_theta", set.at("rope_theta")},
               {"rope_scaling", set.at("rope_scaling")}};
  text["rope_scaling"]["mrope_section"] = section;
  text["max_position_embeddings"] = set.at("max_position_embeddings");
  const RuntimeConfig config = config_from_json({{"model_type", "qwen3_vl"}, {"text_config", text}}, name).runtime;
  RotaryEmbedding embedding(config.rope, head_dim, config.max_position_embeddings);
  const RotaryFrequencies& rotary = embedding.frequencies();
  const std::string prefix = "out." + name + ".";
  golden.compare(prefix + "inv_freq_init", rotary.inv_freq, {}, 1e-5);
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  for (std::size_t j = 0; j < set.at("sequence_lengths").size(); ++j) {
    std::vector<std::int32_t> ids;
    for (const auto id : golden.integers(concat("in.", name, ".", j, ".position_ids")))
      ids.push_back(static_cast<std::int32_t>(id));
    embedding.update(*std::ranges::max_element(ids) + std::int64_t{1});
    const View<const std::int32_t, Cpu, 3, dynamic> positions(ids.data(), static_cast<index_t>(ids.size()) / 3);
    Tables tables;
    const bool computed = [&]<std::size_t... I>(std::index_sequence<I...>) {
      return (compute<I>(section, ctx, positions, rotary, tables) || ...);
    }
    (std::make_index_sequence<std::size(sections)>());
    if (!computed) {
      golden.report(name, "has an mrope_section that was not in the file when this program was built");
      break;
    }
    const std::string call = concat(prefix, j, ".");
    golden.compare(call + "inv_freq", rotary.inv_freq, {}, 1e-5);
    golden.compare(call + "attention_scaling", std::vector<float>{rotary.attention_scaling}, {}, 1e-5);
    golden.compare(call + "cos", both_halves(tables.cos, head_dim / 2), {}, 2e-4);
    golden.compare(call + "sin", both_halves(tables.sin, head_dim / 2), {}, 2e-4);
  }
  return golden.result();
}

}  // namespace
}  // namespace parity

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s TYPES.json SET\n", argv[0]);
    return 2;
  }
  try {
    return parity::run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    return parity::failed;
  }
}
