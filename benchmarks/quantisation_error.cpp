// The accuracy cost of rounded weights, on a small trained checkpoint with known answers, against the f32 result:
//   quantisation_error-<variant> MODEL_DIR [EXPECTED_DIR] [--check]
// EXPECTED_DIR/cases.json has conversations and the exact greedy answers (default: MODEL_DIR/expected). Each answer is
// given to the model token by token; the answer is reproduced if every next token would have been chosen. Prints one
// line for f32, bf16, bf16-dot, q8, q8-dot, q4 and q4-dot, and for llama.cpp's formats: their weights rounded in f32,
// activations not rounded. With --check the program fails if an error is larger than it should be.
//   quantisation_error-<variant> MODEL_DIR --golden CASES_DIR
// The same on the golden cases of a model with random weights (tests/golden), each token of whose prompts counts; the
// answer to reproduce is what f32 finds likeliest.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include QWEN3VL_VARIANT_HEADER
#include "golden_case.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"

using namespace qwen3vl;

namespace {

struct Case {
  std::string name;
  ModelInputs inputs;  // the prompt and all but the last token of the answer
  std::vector<TokenId> answer;
  std::vector<index_t> positions;  // whose logits choose the answer
};

/// The text model's tensors, as they come from the checkpoint: f32 copies with rows rounded in blocks of 32.
class RoundedSource {
 public:
  using Rounding = void (*)(float* block, index_t count);
  RoundedSource(const Checkpoint& checkpoint, Rounding rounding) : source_(checkpoint), rounding_(rounding) {}

  std::optional<RawTensor> find(const Part& part) {
    std::optional<RawTensor> raw = source_.find(part);
    const bool rounded = part.name.find("visual.") == std::string::npos && !part.name.ends_with("mlp.gate.weight") &&
                         raw && raw->shape.size() > 1;
    if (!rounded) return raw;
    std::vector<float>& values = values_[part.name];
    if (values.empty()) {
      const index_t count = raw->rows() * raw->row_size(), columns = raw->shape.back();
      values.resize(static_cast<std::size_t>(count));
      visit_floating(raw->dtype, [&](auto type) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_float<decltype(type)>(raw->data, i);
      });
      if (raw->shape.size() == 2)
        for (index_t row = 0; row < count; row += columns)
          for (index_t k = 0; k < columns; k += 32)
            rounding_(values.data() + row + k, std::min<index_t>(32, columns - k));
    }
    return RawTensor{
        .dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values.data()), .shape = raw->shape};
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return source_.names(); }

 private:
  CheckpointSource source_;
  Rounding rounding_;
  std::map<std::string, std::vector<float>> values_;
};

/// llama.cpp's quantize_row_q8_0_ref and quantize_row_q4_0_ref.
void round_q8_0(float* x, index_t count) {
  float largest = 0.0f;
  for (index_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  const float d = largest / 127.0f, inverse = d == 0.0f ? 0.0f : 1.0f / d;
  for (index_t i = 0; i < count; ++i) x[i] = std::round(x[i] * inverse) * static_cast<float>(f16(d));
}
void round_q4_0(float* x, index_t count) {
  float extreme = 0.0f;
  for (index_t i = 0; i < count; ++i)
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  const float d = extreme / -8.0f, inverse = d == 0.0f ? 0.0f : 1.0f / d;
  for (index_t i = 0; i < count; ++i) {
    const float q = std::min(15.0f, std::floor(x[i] * inverse + 8.5f));
    x[i] = (q - 8.0f) * static_cast<float>(f16(d));
  }
}

/// The results of one precision, and how they differ.
struct Result {
  std::vector<std::vector<float>> logits;  // of each case, [answer, vocab]
  std::vector<std::vector<HostCube<float>>> hidden;
};

template <class Model>
Result run(Model& model, std::vector<Case>& cases) {
  Result result;
  for (Case& one : cases) {
    ModelOutput out = model.forward(one.inputs, {.logits_positions = one.positions, .output_hidden_states = true});
    result.logits.emplace_back(out.logits.data(), out.logits.data() + out.logits.size());
    result.hidden.push_back(std::move(out.hidden_states));
  }
  return result;
}

struct Summary {
  int answers = 0, tokens = 0, all_tokens = 0;
  double logits_error = 0.0, layer_error = 0.0, mean_kl = 0.0, largest_kl = 0.0;
};

Summary compare(const Result& result, const Result& reference, const std::vector<Case>& cases, index_t vocab) {
  Summary summary;
  double difference = 0.0, norm = 0.0, kl = 0.0;
  std::vector<double> layer_difference, layer_norm;
  for (std::size_t c = 0; c < cases.size(); ++c) {
    bool all = true;
    for (std::size_t t = 0; t < cases[c].answer.size(); ++t) {
      const float* const got = result.logits[c].data() + static_cast<index_t>(t) * vocab;
      const float* const wanted = reference.logits[c].data() + static_cast<index_t>(t) * vocab;
      const bool same = std::max_element(got, got + vocab) - got == cases[c].answer[t];
      all = all && same;
      summary.tokens += same ? 1 : 0;
      ++summary.all_tokens;
      const auto log_sum = [&](const float* x) {
        const double largest = static_cast<double>(*std::max_element(x, x + vocab));
        double sum = 0.0;
        for (index_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(x[v]) - largest);
        return largest + std::log(sum);
      };
      const double got_sum = log_sum(got), wanted_sum = log_sum(wanted);
      double divergence = 0.0;
      for (index_t v = 0; v < vocab; ++v) {
        const double p = static_cast<double>(wanted[v]) - wanted_sum, q = static_cast<double>(got[v]) - got_sum;
        divergence += std::exp(p) * (p - q);
        difference += std::pow(static_cast<double>(got[v] - wanted[v]), 2);
        norm += std::pow(static_cast<double>(wanted[v]), 2);
      }
      kl += divergence;
      summary.largest_kl = std::max(summary.largest_kl, divergence);
    }
    summary.answers += all ? 1 : 0;
    layer_difference.resize(result.hidden[c].size());
    layer_norm.resize(result.hidden[c].size());
    for (std::size_t l = 0; l < result.hidden[c].size(); ++l)
      for (index_t i = 0; i < result.hidden[c][l].size(); ++i) {
        const double a = static_cast<double>(result.hidden[c][l].data()[i]);
        const double b = static_cast<double>(reference.hidden[c][l].data()[i]);
        layer_difference[l] += (a - b) * (a - b);
        layer_norm[l] += b * b;
      }
  }
  summary.logits_error = std::sqrt(difference / norm);
  for (std::size_t l = 0; l < layer_norm.size(); ++l)
    summary.layer_error = std::max(summary.layer_error, std::sqrt(layer_difference[l] / layer_norm[l]));
  summary.mean_kl = kl / summary.all_tokens;
  return summary;
}

std::vector<Case> read_cases(const std::filesystem::path& model, const std::filesystem::path& expected) {
  const Processor processor = Processor::from_pretrained(model);
  const auto table = parse_ordered_json(read_text_file(expected / "cases.json", max_json_bytes), "cases.json");
  // The videos were described from all of their frames.
  ProcessorOptions options{.media_directory = expected};
  options.videos = processor.video_processor().options();
  options.videos->do_sample_frames = false;
  std::vector<Case> cases;
  for (const auto& row : table["cases"]) {
    Case one{row["name"].get<std::string>(), {}, row["ids"].get<std::vector<TokenId>>(), {}};
    one.inputs = processor.apply_chat_template(
        messages_from_json(row["messages"]),
        {.add_generation_prompt = true, .enable_thinking = one.name.ends_with(" thinking")}, options);
    const index_t prompt = one.inputs.length(), all = prompt + static_cast<index_t>(one.answer.size()) - 1;
    const auto extended = [&](auto& matrix, const auto& more) {
      std::remove_reference_t<decltype(matrix)> longer(1, all);
      std::copy_n(matrix.data(), prompt, longer.data());
      for (index_t i = prompt; i < all; ++i) longer(0, i) = more(i - prompt);
      matrix = std::move(longer);
    };
    extended(one.inputs.input_ids, [&](index_t i) { return one.answer[static_cast<std::size_t>(i)]; });
    if (!one.inputs.attention_mask.empty()) extended(one.inputs.attention_mask, [](index_t) { return 1; });
    if (!one.inputs.mm_token_type_ids.empty())
      extended(one.inputs.mm_token_type_ids, [](index_t) { return text_token; });
    for (index_t i = prompt - 1; i < all; ++i) one.positions.push_back(i);
    cases.push_back(std::move(one));
  }
  return cases;
}

/// The prompts of all golden cases of the model in `folder`, one sequence each; the answers are not known yet.
std::vector<Case> read_golden_cases(const std::filesystem::path& folder, const std::filesystem::path& cases_dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(cases_dir / "model"))
    if (file.path().extension() == ".json") files.push_back(file.path());
  std::ranges::sort(files);
  std::vector<Case> cases;
  for (const std::filesystem::path& file : files) {
    const parity::GoldenCase golden(file);
    if (golden.options().at("model") != folder.filename().string() || golden.options().contains("config") ||
        golden.kind() != "model")
      continue;
    Case one{file.stem().string(), {}, {}, {}};
    one.inputs.input_ids = golden.matrix<TokenId>("in.input_ids");
    if (one.inputs.batch_size() != 1) continue;  // padded
    one.inputs.attention_mask = golden.matrix<std::uint8_t>("in.attention_mask");
    one.inputs.mm_token_type_ids = golden.matrix<std::uint8_t>("in.mm_token_type_ids");
    one.inputs.pixel_values = golden.float_matrix("in.pixel_values");
    one.inputs.image_grid_thw = golden.grids("in.image_grid_thw");
    one.inputs.pixel_values_videos = golden.float_matrix("in.pixel_values_videos");
    one.inputs.video_grid_thw = golden.grids("in.video_grid_thw");
    for (index_t i = 0; i < one.inputs.length(); ++i) one.positions.push_back(i);
    cases.push_back(std::move(one));
  }
  if (cases.empty()) fail(cases_dir.string(), " has no case of the model ", folder.filename().string());
  return cases;
}

/// Uses the reference's most probable tokens as the answers.
void answer(std::vector<Case>& cases, const Result& reference, index_t vocab) {
  for (std::size_t c = 0; c < cases.size(); ++c)
    for (std::size_t t = 0; t < cases[c].positions.size(); ++t) {
      const float* const logits = reference.logits[c].data() + static_cast<index_t>(t) * vocab;
      cases[c].answer.push_back(static_cast<TokenId>(std::max_element(logits, logits + vocab) - logits));
    }
}

template <class P>
using Model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Cpu, P>;

int main_of(const std::filesystem::path& folder, const std::filesystem::path& expected, bool golden, bool checks) {
  Cpu cpu;
  std::vector<Case> cases = golden ? read_golden_cases(folder, expected) : read_cases(folder, expected);
  constexpr index_t vocab = Model<F32>::vocab_size;
  Result reference;
  std::map<std::string, Summary> summaries;
  std::printf("%zu answers of %s\n\n", cases.size(), folder.string().c_str());
  std::printf(
      "| weights | bits | answers | tokens | largest error of a layer | error of logits | mean KL | largest KL |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  const auto report = [&](const char* name, double bits, const Result& result) {
    const Summary s = summaries[name] = compare(result, reference, cases, vocab);
    std::printf("| %s | %.4g | %d of %zu | %d of %d | %.2e | %.2e | %.2e | %.2e |\n", name, bits, s.answers,
                cases.size(), s.tokens, s.all_tokens, s.layer_error, s.logits_error, s.mean_kl, s.largest_kl);
    std::fflush(stdout);
  };
  {
    auto model = Model<F32>::from_pretrained(folder, cpu);
    reference = run(model, cases);
    if (golden) answer(cases, reference, vocab);
    report("f32", 32, reference);
    if constexpr (QWEN3VL_VARIANT_TYPE::config.text.moe.num_experts == 0) {  // fused experts are stored transposed
      const Checkpoint checkpoint = CheckpointFiles(folder).weights();
      model.load(RoundedSource(checkpoint, round_q8_0), folder.string());
      report("Q8_0, weights only", 8.5, run(model, cases));
      model.load(RoundedSource(checkpoint, round_q4_0), folder.string());
      report("Q4_0, weights only", 4.5, run(model, cases));
    }
  }
  const auto ours = [&]<class P>(P, double bits) {
    auto model = Model<P>::from_pretrained(folder, cpu);
    report(std::string(P::name).c_str(), bits, run(model, cases));
  };
  ours(Bf16{}, 16);
  ours(Bf16Dot{}, 16);
  ours(Q8{}, 8.3125);
  ours(Q8Dot{}, 8.3125);
  ours(Q4{}, 4.5625);
  ours(Q4Dot{}, 4.5625);
  if (!checks) return 0;

  bool right = true;
  const auto check = [&](bool condition, const char* what) {
    if (!condition) std::printf("FAILED: %s\n", what);
    right = right && condition;
  };
  const int all = static_cast<int>(cases.size());
  check(summaries["f32"].answers == all, "f32 gives every answer");
  check(summaries["bf16"].answers == all, "bf16 gives every answer");
  check(summaries["bf16-dot"].answers >= all - 1, "bf16-dot gives every answer but one");
  check(summaries["bf16-dot"].mean_kl < 1e-3, "bf16-dot: mean KL below 1e-3");
  check(summaries["q8"].answers >= all - 1, "q8 gives every answer but one");
  check(summaries["q8"].mean_kl < 1e-3, "q8: mean KL below 1e-3");
  check(summaries["q8"].logits_error < 0.02, "q8: logits within 2 %");
  check(summaries["q8"].logits_error < 1.1 * summaries["Q8_0, weights only"].logits_error, "q8 is as good as Q8_0");
  check(summaries["q8-dot"].answers >= all - 1, "q8-dot gives every answer but one");
  check(summaries["q8-dot"].mean_kl < 1e-3, "q8-dot: mean KL below 1e-3");
  check(summaries["q4"].answers >= all * 9 / 10, "q4 gives nine answers of ten");
  check(summaries["q4"].mean_kl < 1e-2, "q4: mean KL below 1e-2");
  check(summaries["q4"].logits_error < summaries["Q4_0, weights only"].logits_error, "q4 is better than Q4_0");
  check(summaries["q4-dot"].mean_kl < 1e-2, "q4-dot: mean KL below 1e-2");
  check(summaries["q4-dot"].logits_error < summaries["Q4_0, weights only"].logits_error, "q4-dot is better than Q4_0");
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool checks = std::erase(words, "--check") > 0, golden = std::erase(words, "--golden") > 0;
  if (words.empty() || words.size() > 2 || (golden && (checks || words.size() != 2)))
    fail("usage: quantisation_error MODEL_DIR [EXPECTED_DIR] [--check], or MODEL_DIR --golden CASES_DIR");
  return main_of(words[0], words.size() > 1 ? words[1] : words[0] + "/expected", golden, checks);
} catch (const std::exception& error) {
  std::fprintf(stderr, "quantisation_error: %s\n", error.what());
  return 1;
}
