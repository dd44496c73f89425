// Beam search against a plain one that computes every sequence from its beginning, several answers to a prompt, and
// prompt lookup against the search without it.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_search
#include <boost/test/unit_test.hpp>
#include <map>
#include <string>

#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

using Model = ForConditionalGeneration<Dense, Cpu, F32>;
using Ids = std::vector<TokenId>;

struct Fixture {
  Cpu cpu{1};
};

const std::vector<Prompt>& prompts() {
  static const std::vector<Prompt> all{
      Prompt().text(some_text(5, 1)).image({{1, 4, 6}, 1}).text(some_text(3, 2)),
      Prompt().text(some_text(11, 3)),
      Prompt().video({{2, 2, 4}, 4}).text(some_text(2, 5)).image({{1, 2, 2}, 6}).text({7}),
  };
  return all;
}

// _beam_search of transformers, tensor by tensor, for one prompt: nothing is cached; only scores of -1e9 distinguish
// finished from running sequences.
struct Reference {
  std::vector<Ids> sequences;  // new tokens
  std::vector<float> scores;
  bool stopped_early = false;
};

std::vector<std::size_t> top(const std::vector<float>& values, std::size_t k) {
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  order.resize(k);
  return order;
}

Reference reference_search(Model& model, const Prompt& prompt, const GenerationConfig& config) {
  std::map<Ids, std::vector<float>> known;
  const auto log_probabilities = [&](const Ids& generated) {
    auto& row = known[generated];
    if (!row.empty()) return row;
    Prompt longer = prompt;
    longer.text(generated);
    const ModelOutput output = model.forward(inputs_of({longer}), {.logits_to_keep = 1});
    row.assign(output.logits.span().begin(), output.logits.span().end());
    double sum = 0.0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    for (float& logit : row) logit -= static_cast<float>(std::log(sum));
    if (config.repetition_penalty != 1.0f) {
      for (TokenId id = 0; id < 64; ++id)
        if (std::ranges::find(longer.ids, id) != longer.ids.end())
          row[static_cast<std::size_t>(id)] *= config.repetition_penalty;
    }
    return row;
  };
  const auto beams = static_cast<std::size_t>(config.num_beams);
  const std::size_t keep = std::max<std::size_t>(2, 1 + config.eos_token_id.size()) * beams;
  const auto limit = static_cast<std::size_t>(*config.max_new_tokens);
  const bool early = config.early_stopping == EarlyStopping::yes, never = config.early_stopping == EarlyStopping::never;
  std::vector<Ids> running(beams), sequences(beams);
  std::vector<float> running_scores(beams, -1e9f), scores(beams, -1e9f);
  running_scores[0] = 0.0f;
  std::vector<bool> sent(beams, false);
  bool improvable = true;
  const auto all_sent = [&] { return std::ranges::find(sent, false) == sent.end(); };
  const auto power = [&](std::size_t length) {
    return static_cast<float>(std::pow(static_cast<double>(length), static_cast<double>(config.length_penalty)));
  };
  for (std::size_t length = 0;; ++length) {
    std::vector<float> accumulated;
    for (std::size_t j = 0; j < beams; ++j)
      for (const float value : log_probabilities(running[j])) accumulated.push_back(value + running_scores[j]);
    const auto chosen = top(accumulated, keep);
    std::vector<Ids> next(keep);
    std::vector<float> next_scores(keep), running_key(keep), finished_key(keep);
    std::vector<bool> hits(keep), just(keep);
    for (std::size_t i = 0; i < keep; ++i) {
      next[i] = running[chosen[i] / 64];
      next[i].push_back(static_cast<TokenId>(chosen[i] % 64));
      next_scores[i] = accumulated[chosen[i]];
      hits[i] = std::ranges::find(config.eos_token_id, next[i].back()) != config.eos_token_id.end() ||
                next[i].size() >= limit;
      running_key[i] = next_scores[i] + (hits[i] ? -1e9f : 0.0f);
      just[i] = hits[i] && i < beams;
      finished_key[i] = next_scores[i] / power(length + 1) + (all_sent() && early ? -1e9f : 0.0f) +
                        (improvable ? 0.0f : -1e9f) + (just[i] ? 0.0f : -1e9f);
    }
    std::vector<Ids> new_running, merged = sequences, new_sequences;
    std::vector<float> new_running_scores, merged_scores = scores, new_scores;
    std::vector<bool> merged_sent = sent, new_sent;
    for (const std::size_t i : top(running_key, beams)) {
      new_running.push_back(next[i]);
      new_running_scores.push_back(running_key[i]);
    }
    merged.insert(merged.end(), next.begin(), next.end());
    merged_scores.insert(merged_scores.end(), finished_key.begin(), finished_key.end());
    merged_sent.insert(merged_sent.end(), just.begin(), just.end());
    for (const std::size_t i : top(merged_scores, beams)) {
      new_sequences.push_back(merged[i]);
      new_scores.push_back(merged_scores[i]);
      new_sent.push_back(merged_sent[i]);
    }
    running = new_running;
    running_scores = new_running_scores;
    sequences = new_sequences;
    scores = new_scores;
    sent = new_sent;
    const std::size_t best_length = never && config.length_penalty > 0.0f ? limit : length + 1;
    float worst = 1e30f;
    for (std::size_t j = 0; j < beams; ++j)
      worst = std::min(worst, sent[j] ? *std::ranges::min_element(scores) : -1e9f);
    improvable = improvable && running_scores[0] / power(best_length) > worst;
    const bool all_hit = std::ranges::find(hits, false) == hits.end();
    if (improvable && !(all_sent() && early) && !all_hit) continue;
    Reference result;
    result.stopped_early = !all_hit;
    const auto count = static_cast<std::size_t>(config.num_return_sequences);
    result.sequences.assign(sequences.begin(), sequences.begin() + static_cast<std::ptrdiff_t>(count));
    result.scores.assign(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(count));
    return result;
  }
}

struct Setting {
  index_t beams;
  float length_penalty;
  EarlyStopping early_stopping;
  Ids eos;
  index_t returned;
  float repetition_penalty;
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(beams_are_those_of_a_plain_search, Fixture) {
  using enum EarlyStopping;
  const Ids some{3, 6, 11, 17, 21, 26, 29, 33, 38, 40, 44, 49, 52, 58}, one{9};
  int early = 0, searches = 0;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    Model model = random_model<Dense>(cpu, seed);
    for (const Setting& setting : {Setting{2, 1.0f, no, {}, 1, 1.0f}, Setting{3, 1.0f, no, some, 3, 1.0f},
                                   Setting{3, 1.0f, yes, some, 2, 1.0f}, Setting{3, 1.0f, never, some, 3, 1.0f},
                                   Setting{4, 2.0f, no, some, 4, 1.0f}, Setting{4, 2.0f, never, some, 4, 1.0f},
                                   Setting{2, 0.0f, never, one, 2, 1.3f}, Setting{5, -1.0f, no, some, 5, 1.0f},
                                   Setting{3, -0.5f, yes, one, 1, 1.4f}, Setting{7, 0.7f, no, some, 6, 1.2f}}) {
      GenerationConfig config;
      config.max_new_tokens = 9;
      config.num_beams = setting.beams;
      config.length_penalty = setting.length_penalty;
      config.early_stopping = setting.early_stopping;
      config.eos_token_id = setting.eos;
      config.num_return_sequences = setting.returned;
      config.repetition_penalty = setting.repetition_penalty;
      config.pad_token_id = 0;
      model.set_generation_config(config);
      std::vector<Reference> expected;
      for (const Prompt& prompt : prompts()) {
        expected.push_back(reference_search(model, prompt, config));
        early += expected.back().stopped_early;
        ++searches;
      }
      for (const bool left : {true, false}) {
        const auto output =
            model.generate(inputs_of(prompts(), left), {.output_scores = true, .prefill_chunk = left ? 512 : 4});
        std::size_t row = 0;
        for (std::size_t b = 0; b < prompts().size(); ++b)
          for (std::size_t j = 0; j < expected[b].sequences.size(); ++j, ++row) {
            BOOST_TEST_CONTEXT("seed " << seed << ", " << setting.beams << " beams, prompt " << b << ", answer " << j) {
              const Ids& ids = output.new_tokens.at(row);
              BOOST_TEST(ids == expected[b].sequences[j], boost::test_tools::per_element());
              BOOST_TEST(std::abs(output.sequences_scores.at(row) - expected[b].scores[j]) <
                         1e-4f * std::max(1.0f, std::abs(expected[b].scores[j])));
              float sum = 0.0f;
              for (const float score : output.transition_scores.at(row)) sum += score;
              BOOST_TEST(output.transition_scores[row].size() == ids.size());
              BOOST_TEST(std::abs(sum / std::pow(static_cast<float>(ids.size()), setting.length_penalty) -
                                  expected[b].scores[j]) < 1e-3f * std::max(1.0f, std::abs(expected[b].scores[j])));
              const bool eos = std::ranges::find(config.eos_token_id, ids.back()) != config.eos_token_id.end();
              BOOST_TEST((output.finish_reasons.at(row) == (eos ? FinishReason::stop : FinishReason::length)));
              // Prompt, answer and padding in one row.
              const auto length = inputs_of(prompts(), left).length();
              for (index_t i = length; i < output.sequences.extent(1); ++i) {
                const auto at = static_cast<std::size_t>(i - length);
                BOOST_REQUIRE(output.sequences(static_cast<index_t>(row), i) == (at < ids.size() ? ids[at] : 0));
              }
            }
          }
        BOOST_TEST(output.new_tokens.size() == row);
        BOOST_TEST(output.timings.computed_tokens == output.timings.prompt_tokens);
      }
    }
  }
  BOOST_TEST(early > searches / 8);  // or the stopping rules were not tested
  BOOST_TEST(early < searches);
}

BOOST_FIXTURE_TEST_CASE(beam_sampling, Fixture) {
  Model model = random_model<Dense>(cpu, 4, 0.2f);
  GenerateOptions options{.max_new_tokens = 8,
                          .do_sample = true,
                          .temperature = 1.5f,
                          .top_k = 5,
                          .num_beams = 3,
                          .num_return_sequences = 3,
                          .eos_token_id = Ids{3, 17},
                          .seed = 5,
                          .output_scores = true};
  const auto first = model.generate(inputs_of(prompts()), options);
  BOOST_TEST(model.generate(inputs_of(prompts()), options).new_tokens == first.new_tokens);
  options.seed = 6;
  BOOST_TEST(model.generate(inputs_of(prompts()), options).new_tokens != first.new_tokens);
  // Scores are those of the sequences: log-probabilities over the temperature, summed up.
  for (std::size_t row = 0; row < first.new_tokens.size(); ++row) {
    const Ids& ids = first.new_tokens[row];
    Prompt prompt = prompts()[row / 3];
    double sum = 0.0;
    for (const TokenId id : ids) {
      const auto logits = model.forward(inputs_of({prompt}), {.logits_to_keep = 1}).logits;
      double exponentials = 0.0;
      for (const float logit : logits.span()) exponentials += std::exp(static_cast<double>(logit));
      const double logit = static_cast<double>(logits.span()[static_cast<std::size_t>(id)]);
      sum += (logit - std::log(exponentials)) / 1.5;
      const auto better = std::ranges::count_if(
          logits.span(), [&](float other) { return other > logits.span()[static_cast<std::size_t>(id)]; });
      BOOST_TEST(better < 5);
      prompt.text({id});
    }
    BOOST_TEST(std::abs(static_cast<double>(first.sequences_scores[row]) - sum / static_cast<double>(ids.size())) <
               1e-4);
    if (row % 3 != 0) BOOST_TEST(first.sequences_scores[row] <= first.sequences_scores[row - 1]);
  }
  // With the best candidates all but certain, beam sampling is beam search.
  const GenerateOptions plain{.max_new_tokens = 8, .num_beams = 3, .num_return_sequences = 3};
  GenerateOptions cold = plain;
  cold.do_sample = true;
  cold.temperature = 1e-4f;
  cold.top_k = 0;
  cold.seed = 1;
  BOOST_TEST(model.generate(inputs_of(prompts()), cold).new_tokens ==
             model.generate(inputs_of(prompts()), plain).new_tokens);
}

BOOST_FIXTURE_TEST_CASE(beams_with_processors_criteria_and_a_cache, Fixture) {
  Model model = random_model<Dense>(cpu, 2);
  // A processor that leaves one token: beams that do not exist must not come alive.
  GenerateOptions options{.max_new_tokens = 6, .num_beams = 3, .num_return_sequences = 2};
  options.logits_processors.push_back([](std::span<const TokenId> ids, std::span<float> scores) {
    if (ids.size() > 12) return;
    std::ranges::fill(scores, removed_score);
    scores[5] = 0.0f;
  });
  const auto forced = model.generate(inputs_of({prompts()[1]}), options);
  for (const Ids& ids : forced.new_tokens) BOOST_TEST((ids[0] == 5 && ids[1] == 5));
  BOOST_TEST(forced.new_tokens[0] != forced.new_tokens[1]);
  BOOST_TEST(forced.sequences_scores[1] > -1e6f);
  // A criterion ends candidates as eos does.
  const GenerateOptions with_eos{
      .max_new_tokens = 9, .num_beams = 3, .num_return_sequences = 3, .eos_token_id = Ids{3, 17}};
  GenerateOptions with_criterion = with_eos;
  with_criterion.eos_token_id = Ids{17, 17};  // as many candidates
  with_criterion.stopping_criteria.push_back([](index_t, std::span<const TokenId> ids) { return ids.back() == 3; });
  const auto a = model.generate(inputs_of(prompts()), with_eos),
             b = model.generate(inputs_of(prompts()), with_criterion);
  BOOST_TEST(a.new_tokens == b.new_tokens);
  for (std::size_t row = 0; row < b.new_tokens.size(); ++row)
    if (b.new_tokens[row].back() == 3) BOOST_TEST((b.finish_reasons[row] == FinishReason::stop_criterion));
  // All candidates end at once: the answers are the best of them.
  GenerateOptions all_end{.max_new_tokens = 9, .num_beams = 3, .num_return_sequences = 3};
  all_end.stopping_criteria.push_back([](index_t, std::span<const TokenId> ids) { return ids.size() == 2; });
  for (const Ids& ids : model.generate(inputs_of(prompts()), all_end).new_tokens) BOOST_TEST(ids.size() == 2u);
  // A prompt cache holds the prompt afterwards, and gives the same answer.
  PromptCache<Model> cache;
  const auto one = model.generate(inputs_of({prompts()[0]}), with_eos, &cache);
  BOOST_TEST(cache.length() == static_cast<index_t>(prompts()[0].ids.size()));
  const auto again = model.generate(inputs_of({prompts()[0]}), with_eos, &cache);
  BOOST_TEST(again.timings.computed_tokens == 1);
  BOOST_TEST(one.new_tokens == again.new_tokens);
  for (std::size_t j = 0; j < 3; ++j) BOOST_TEST(one.new_tokens[j] == a.new_tokens[j]);
}

BOOST_FIXTURE_TEST_CASE(several_sampled_answers, Fixture) {
  Model model = random_model<Dense>(cpu, 6, 0.2f);
  const GenerateOptions options{.max_new_tokens = 10, .do_sample = true, .eos_token_id = Ids{3, 17, 40}, .seed = 3};
  GenerateOptions several = options;
  several.num_return_sequences = 4;
  several.output_scores = true;
  several.output_logits = true;
  std::vector<std::pair<index_t, TokenId>> streamed;
  several.streamer = [&](index_t row, TokenId token) {
    streamed.emplace_back(row, token);
    return true;
  };
  // The same as so many equal prompts, which are computed once.
  std::vector<Prompt> repeated;
  for (const Prompt& prompt : prompts()) repeated.insert(repeated.end(), 4, prompt);
  const auto expected = model.generate(inputs_of(repeated), options);
  const auto output = model.generate(inputs_of(prompts()), several);
  BOOST_TEST(output.new_tokens == expected.new_tokens);
  BOOST_TEST(output.new_tokens[0] != output.new_tokens[1]);
  BOOST_TEST(std::ranges::equal(output.sequences.span(), expected.sequences.span()));
  BOOST_TEST(output.timings.computed_tokens * 4 == expected.timings.computed_tokens);
  for (std::size_t row = 0; row < output.new_tokens.size(); ++row) {
    Ids of_row;
    for (const auto& [r, token] : streamed)
      if (r == static_cast<index_t>(row)) of_row.push_back(token);
    BOOST_TEST(of_row == output.new_tokens[row]);
    float sum = 0.0f;
    for (std::size_t step = 0; step < of_row.size(); ++step) {
      const auto logits = output.logits[static_cast<index_t>(row)][static_cast<index_t>(step)].span();
      double exponentials = 0.0;
      for (const float logit : logits) exponentials += std::exp(static_cast<double>(logit));
      const double score = static_cast<double>(logits[static_cast<std::size_t>(of_row[step])]) - std::log(exponentials);
      BOOST_TEST(std::abs(static_cast<double>(output.transition_scores[row][step]) - score) < 1e-4);
      sum += output.transition_scores[row][step];
    }
    BOOST_TEST(std::abs(output.sequences_scores[row] - sum) < 1e-4f);
  }
  BOOST_CHECK_THROW(model.generate(inputs_of(prompts()), {.num_return_sequences = 2}), Error);
  BOOST_CHECK_THROW(model.generate(inputs_of(prompts()), {.num_beams = 2, .num_return_sequences = 3}), Error);
  BOOST_CHECK_THROW(
      model.generate(inputs_of(prompts()), {.num_beams = 2, .streamer = [](index_t, TokenId) { return true; }}), Error);
}

// Scores are what tokens were chosen from: with them and beam_indices every chosen token can be found again.
BOOST_FIXTURE_TEST_CASE(scores_of_every_step, Fixture) {
  Model model = random_model<Dense>(cpu, 3, 0.2f);
  for (const index_t beams : {1, 3})
    for (const Ids& eos : {Ids{}, Ids{3, 11, 23, 38}}) {
      const GenerateOptions options{.max_new_tokens = 7,
                                    .repetition_penalty = 1.2f,
                                    .num_beams = beams,
                                    .num_return_sequences = beams,
                                    .eos_token_id = eos,
                                    .output_logits = true,
                                    .output_scores = true};
      const auto output = model.generate(inputs_of(prompts()), options);
      GenerateOptions less = options;
      less.output_logits = less.output_scores = false;
      less.output_transition_scores = true;
      const auto chosen = model.generate(inputs_of(prompts()), less);
      BOOST_TEST(chosen.new_tokens == output.new_tokens);
      BOOST_TEST((chosen.transition_scores == output.transition_scores));
      BOOST_TEST(chosen.scores.empty());
      BOOST_TEST(output.scores.rows() == static_cast<index_t>(prompts().size()) * beams);
      BOOST_TEST(output.logits.size() == output.scores.size());
      BOOST_TEST(output.beam_indices.size() == (beams > 1 ? output.new_tokens.size() : 0));
      for (std::size_t row = 0; row < output.new_tokens.size(); ++row)
        for (std::size_t step = 0; step < output.new_tokens[row].size(); ++step) {
          const index_t from = beams > 1 ? output.beam_indices[row].at(step) : static_cast<index_t>(row);
          const auto scores = output.scores[from][static_cast<index_t>(step)].span();
          const auto token = static_cast<std::size_t>(output.new_tokens[row][step]);
          const double sum = beams > 1 ? 0.0 : detail::log_sum_exp(scores, *std::ranges::max_element(scores));
          BOOST_TEST(std::abs(static_cast<double>(output.transition_scores[row][step]) -
                              (static_cast<double>(scores[token]) - sum)) < 1e-4);
        }
    }
}

BOOST_FIXTURE_TEST_CASE(ends_by_text_and_by_time, Fixture) {
  // The text of token i is "<i>".
  struct Names {
    std::vector<std::string> texts;
    std::string_view bytes_or_nothing(TokenId id) const { return texts.at(static_cast<std::size_t>(id)); }
  } names;
  for (int i = 0; i < 64; ++i) names.texts.push_back(concat("<", i, ">"));
  Model model = random_model<Dense>(cpu, 1);
  const Prompt prompt = prompts()[1];
  const auto free = model.generate(inputs_of({prompt}), {.max_new_tokens = 12}).new_tokens[0];
  const std::vector<std::string> strings{concat(free[3], "><", free[4], ">")};
  GenerateOptions options{.max_new_tokens = 12, .stop_strings = strings, .tokenizer = names};
  auto output = model.generate(inputs_of({prompt}), options);
  BOOST_TEST(output.new_tokens[0] == Ids(free.begin(), free.begin() + 5));
  BOOST_TEST((output.finish_reasons[0] == FinishReason::stop_criterion));
  // It may begin in the prompt, and be in the checkpoint's config.
  GenerationConfig config = model.generation_config();
  config.stop_strings = {concat("<", prompt.ids.back(), "><", free[0])};
  model.set_generation_config(config);
  options.stop_strings.reset();
  for (const index_t beams : {1, 2}) {
    options.num_beams = beams;
    output = model.generate(inputs_of({prompt}), options);
    if (beams == 1) BOOST_TEST(output.new_tokens[0] == Ids{free[0]});
    BOOST_CHECK_THROW(model.generate(inputs_of({prompt}), {.max_new_tokens = 3, .num_beams = beams}), Error);
  }
  config.stop_strings.clear();
  model.set_generation_config(config);
  for (const index_t beams : {1, 2}) {
    output = model.generate(inputs_of({prompt}), {.max_new_tokens = 12, .max_time = 0.0f, .num_beams = beams});
    BOOST_TEST(output.new_tokens[0].size() == 1u);
    BOOST_TEST((output.finish_reasons[0] == FinishReason::time));
    output = model.generate(inputs_of({prompt}), {.max_new_tokens = 5, .max_time = 1e6f, .num_beams = beams});
    BOOST_TEST((output.finish_reasons[0] == FinishReason::length));
  }
}

// What the layers record of each step, whatever passes computed it: what forward() says of the whole sequence.
BOOST_FIXTURE_TEST_CASE(attentions_and_hidden_states, Fixture) {
  Model model = random_model<Dense>(cpu, 3);
  constexpr index_t heads = Dense::config.text.num_attention_heads;
  std::vector<Prompt> batch = prompts();
  const Ids phrase = some_text(6, 9);
  batch[1].text(phrase).text(phrase).text({phrase[0], phrase[1]});
  const auto check = [&](GenerateOptions options, bool pad_left = true) {
    const ModelInputs inputs = inputs_of(batch, pad_left);
    const auto plain = model.generate(inputs, options);
    BOOST_TEST(plain.attentions.empty());
    BOOST_TEST(plain.hidden_states.empty());
    options.output_attentions = options.output_hidden_states = true;
    GenerateOutput output = model.generate(inputs, options);
    BOOST_TEST(output.new_tokens == plain.new_tokens);
    BOOST_TEST(output.timings.decode_passes == plain.timings.decode_passes);
    const bool beams = !output.beam_indices.empty();
    const index_t length = inputs.length(), copies = options.num_return_sequences.value_or(1);
    const index_t rows = 3 * (beams ? *options.num_beams : copies);
    std::size_t steps = 0;
    for (const Ids& ids : output.new_tokens) steps = std::max(steps, ids.size());
    BOOST_REQUIRE(output.attentions.size() >= steps);
    BOOST_REQUIRE(output.hidden_states.size() == output.attentions.size());
    if (!beams) BOOST_REQUIRE(output.attentions.size() == steps);
    for (std::size_t r = 0; r < output.new_tokens.size(); ++r) {
      const Prompt& prompt = batch[r / static_cast<std::size_t>(copies)];
      const auto own = static_cast<index_t>(prompt.ids.size());
      const auto column = [&](index_t place) {
        return place >= own ? length + place - own : pad_left ? length - own + place : place;
      };
      const Ids& ids = output.new_tokens[r];
      for (std::size_t step = 0; step < steps; ++step) {
        const bool ended = step >= ids.size();
        if (ended && beams) break;
        Prompt longer = prompt;
        if (!ended) longer.text({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(step)});
        const ModelOutput expected =
            model.forward(inputs_of({longer}), {.output_hidden_states = true, .output_attentions = true});
        const index_t row = beams ? output.beam_indices[r][step] : static_cast<index_t>(r);
        const index_t last = own + static_cast<index_t>(step), first = step == 0 ? 0 : last - 1;
        BOOST_REQUIRE(output.hidden_states[step].size() == 3u);
        BOOST_REQUIRE(output.attentions[step].size() == 2u);
        for (std::size_t layer = 0; layer < 3; ++layer) {
          const auto& states = output.hidden_states[step][layer];
          BOOST_REQUIRE(states.rows() == rows);
          BOOST_REQUIRE(states.extent(1) == (step == 0 ? length : 1));
          double error = 0.0;
          for (index_t place = first; place < last && !ended; ++place)
            error = std::max(error, difference(states[row][step == 0 ? column(place) : 0].span(),
                                               expected.hidden_states[layer][0][place].span()));
          BOOST_TEST(error < 1e-5);
          if (std::ranges::count_if(states[row].span(), [](float x) { return x != 0.0f; }) >
              32 * (ended ? 0 : last - first))
            BOOST_ERROR("hidden states where there is no token");
        }
        for (std::size_t layer = 0; layer < 2; ++layer) {
          const auto& weights = output.attentions[step][layer];
          BOOST_REQUIRE(weights.rows() == rows);
          BOOST_REQUIRE(weights.extent(1) == heads);
          BOOST_REQUIRE(weights.extent(2) == (step == 0 ? length : 1));
          BOOST_REQUIRE(weights.extent(3) == length + static_cast<index_t>(step));
          double error = 0.0;
          index_t seen = 0;
          for (index_t place = first; place < last && !ended; ++place)
            for (index_t h = 0; h < heads; ++h)
              for (index_t key = 0; key <= place; ++key, ++seen)
                error = std::max(
                    error, static_cast<double>(std::abs(weights(row, h, step == 0 ? column(place) : 0, column(key)) -
                                                        expected.attentions[layer](0, h, place, key))));
          BOOST_TEST(error < 1e-5);
          if (std::ranges::count_if(weights[row].span(), [](float x) { return x != 0.0f; }) > seen)
            BOOST_ERROR("attention where there is no token");
        }
      }
    }
    return output;
  };
  const auto free = check({.max_new_tokens = 6});
  check({.max_new_tokens = 4, .prefill_chunk = 3}, false);
  check({.max_new_tokens = 4, .do_sample = true, .num_return_sequences = 2, .seed = 4, .prefill_chunk = 5});
  check({.max_new_tokens = 5, .num_beams = 3, .num_return_sequences = 2, .prefill_chunk = 7});
  const Ids eos{free.new_tokens[0][0], free.new_tokens[2][3]};
  check({.max_new_tokens = 6, .eos_token_id = eos});
  const auto guessed = check({.max_new_tokens = 16, .prompt_lookup_num_tokens = 5, .eos_token_id = eos});
  BOOST_TEST(guessed.timings.decode_passes < 15);
  // Each alone.
  const auto inputs = inputs_of(batch);
  BOOST_TEST(model.generate(inputs, {.max_new_tokens = 2, .output_attentions = true}).hidden_states.empty());
  BOOST_TEST(model.generate(inputs, {.max_new_tokens = 2, .output_hidden_states = true}).attentions.empty());
}

// Embeddings and positions of the caller's: those of the prompt itself change nothing.
BOOST_FIXTURE_TEST_CASE(own_embeddings_and_positions, Fixture) {
  Model model = random_model<Dense>(cpu, 5);
  const auto embedded = [&](const std::vector<Prompt>& batch, bool with_ids) {
    ModelInputs inputs = inputs_of(batch);
    inputs.inputs_embeds = model.get_input_embeddings(inputs.input_ids);
    if (!with_ids) inputs.input_ids = {};
    return inputs;
  };
  const std::vector<Prompt>& batch = prompts();
  const std::vector<Prompt> text{batch[1], Prompt().text(some_text(4, 8)), Prompt().text(some_text(7, 9))};
  const GenerateOptions plain{.max_new_tokens = 6, .output_logits = true},
      beams{.max_new_tokens = 6, .num_beams = 3, .output_logits = true, .prefill_chunk = 4},
      sampled{.max_new_tokens = 6, .do_sample = true, .num_return_sequences = 2, .seed = 3, .prefill_chunk = 3},
      guessed{.max_new_tokens = 6, .prompt_lookup_num_tokens = 4, .output_logits = true};
  for (const GenerateOptions& options : {plain, beams, sampled, guessed}) {
    const auto expected = model.generate(inputs_of(batch), options), of_text = model.generate(inputs_of(text), options);
    const auto with_ids = model.generate(embedded(batch, true), options);
    BOOST_TEST(with_ids.new_tokens == expected.new_tokens);
    BOOST_TEST(std::ranges::equal(with_ids.logits.span(), expected.logits.span()));
    BOOST_TEST(std::ranges::equal(with_ids.sequences.span(), expected.sequences.span()));
    const auto alone = model.generate(embedded(text, false), options);
    BOOST_TEST(alone.new_tokens == of_text.new_tokens);
    BOOST_TEST(alone.timings.prompt_tokens == of_text.timings.prompt_tokens);
    BOOST_TEST(alone.sequences.extent(1) == 6);
    for (index_t r = 0; r < alone.sequences.rows(); ++r)
      BOOST_TEST(std::ranges::equal(alone.sequences[r].span(), alone.new_tokens[static_cast<std::size_t>(r)]));
    ModelInputs placed = inputs_of(batch);
    placed.position_ids =
        get_rope_index(placed.mm_token_type_ids, placed.image_grid_thw, placed.video_grid_thw, placed.attention_mask, 2)
            .position_ids;
    BOOST_TEST(model.generate(placed, options).new_tokens == expected.new_tokens);
    for (std::int32_t& position : placed.position_ids.span()) position *= 3;
    BOOST_TEST(model.generate(placed, options).new_tokens != expected.new_tokens);
  }
  // Other embeddings are another prompt, and ids only what processors see of it.
  ModelInputs other = embedded(batch, true);
  for (float& x : other.inputs_embeds.span()) x = -x;
  BOOST_TEST(model.generate(other, plain).new_tokens != model.generate(inputs_of(batch), plain).new_tokens);
  const GenerateOptions penalty{.max_new_tokens = 6, .repetition_penalty = 1.8f, .output_logits = true};
  BOOST_TEST(model.generate(embedded(batch, true), penalty).new_tokens ==
             model.generate(inputs_of(batch), penalty).new_tokens);

  const auto refused = [&](const ModelInputs& inputs, const GenerateOptions& options, const char* what,
                           PromptCache<Model>* cache = nullptr) {
    BOOST_CHECK_EXCEPTION(model.generate(inputs, options, cache), Error, [&](const Error& error) {
      BOOST_TEST_MESSAGE(error.what());
      return std::string(error.what()).find(what) != std::string::npos;
    });
  };
  PromptCache<Model> cache;
  refused(embedded(text, true), {}, "a prompt cache goes by the ids", &cache);
  refused(embedded(text, false), {.encoder_repetition_penalty = 2.0f}, "encoder_repetition_penalty goes by the ids");
  refused(embedded(text, false), {.encoder_no_repeat_ngram_size = 2}, "encoder_no_repeat_ngram_size goes by");
  refused(embedded(text, false), {.forced_bos_token_id = 3}, "forced_bos_token_id goes by");
  refused(embedded(text, false), {.guidance_scale = 2.0f}, "guidance_scale without negative_prompt_ids goes by");
  refused(embedded(text, true), {.token_healing = true}, "token_healing changes input_ids");
  refused(embedded(text, false),
          {.thinking_budget = ThinkingBudget{.max_tokens = 4, .begin_token = 20, .end_token = 21, .closing = {21}}},
          "thinking_budget goes by");
  ModelInputs wrong = embedded(text, true);
  wrong.input_ids = HostMatrix<TokenId>(3, 2);
  refused(wrong, {}, "give the ids of the same tokens, or none");
  wrong = embedded(text, false);
  wrong.inputs_embeds = HostCube<float>(3, wrong.length(), 31);
  refused(wrong, {}, "inputs_embeds has 31 columns, hidden_size is 32");
  wrong.inputs_embeds = HostCube<float>(0, 5, 32);
  wrong.attention_mask = {};
  wrong.mm_token_type_ids = {};
  refused(wrong, {}, "the prompt is empty");
  wrong.inputs_embeds = HostCube<float>(2, 0, 32);
  refused(wrong, {}, "the prompt is empty");
  wrong = inputs_of(text);
  wrong.position_ids = HostCube<std::int32_t>(2, 3, wrong.length());
  refused(wrong, {}, "position_ids is [2, 3, ");
  wrong.position_ids = HostCube<std::int32_t>(1, 3, wrong.length());
  refused(wrong, {}, "a prompt cache goes by the ids", &cache);
  wrong.position_ids(0, 1, 2) = 2147483640;
  refused(wrong, {}, "positions have 31 bits");
  wrong.position_ids(0, 1, 2) = -1;
  refused(wrong, {}, "positions are not negative");
}

BOOST_FIXTURE_TEST_CASE(guidance_by_other_prompts, Fixture) {
  Model model = random_model<Dense>(cpu, 5);
  const auto inputs = inputs_of({prompts()[0], prompts()[1]});
  const std::vector<Ids> negative{some_text(3, 8), some_text(6, 9)};
  const auto guided = model.generate(
      inputs, {.max_new_tokens = 6, .guidance_scale = 1.5f, .negative_prompt_ids = negative, .output_scores = true});
  // The formula, from prompts that are computed whole.
  for (std::size_t row = 0; row < 2; ++row) {
    Prompt own = prompts()[row], other = Prompt().text(negative[row]);
    for (std::size_t step = 0; step < 6; ++step) {
      const auto log_probabilities = [&](const Prompt& prompt) {
        const auto logits = model.forward(inputs_of({prompt}), {.logits_to_keep = 1}).logits;
        std::vector<float> scores(logits.span().begin(), logits.span().end());
        detail::log_softmax(scores);
        return scores;
      };
      std::vector<float> expected = log_probabilities(own), away = log_probabilities(other);
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 1.5f * (expected[i] - away[i]) + away[i];
      BOOST_TEST(difference(guided.scores[static_cast<index_t>(row)][static_cast<index_t>(step)].span(), expected) <
                 1e-4);
      own.text({guided.new_tokens[row][step]});
      other.text({guided.new_tokens[row][step]});
    }
  }
  const GenerateOptions wrong[] = {
      {.guidance_scale = 2.0f, .negative_prompt_ids = {{1}}},
      {.guidance_scale = 2.0f, .negative_prompt_ids = {{1}, {}}},
      {.guidance_scale = 2.0f, .negative_prompt_ids = {{1}, {64}}},
      {.guidance_scale = 2.0f, .negative_prompt_ids = {{1}, {-1}}},
      {.negative_prompt_ids = {{1}, {2}}},
      {.prompt_lookup_num_tokens = 2, .guidance_scale = 2.0f},
  };
  for (const GenerateOptions& options : wrong) BOOST_CHECK_THROW(model.generate(inputs, options), Error);
}

// Each processor as an option of a call reaches the tokens: something differs, in sampling and in beams.
BOOST_FIXTURE_TEST_CASE(no_option_is_without_effect, Fixture) {
  Model model = random_model<Dense>(cpu, 6, 0.2f);
  const auto inputs = inputs_of({prompts()[0], prompts()[1]});
  const auto answers = [&](GenerateOptions options) {
    options.max_new_tokens = 12;
    options.seed = 4;
    options.output_scores = true;
    const auto output = model.generate(inputs, options);
    return std::pair(output.new_tokens, std::vector<float>(output.scores.span().begin(), output.scores.span().end()));
  };
  const auto plain = answers({.do_sample = true});
  const Ids first{plain.first[0][0], plain.first[1][0]};
  const GenerateOptions sampled[] = {
      {.do_sample = true, .top_h = 0.3f},
      {.do_sample = true, .typical_p = 0.3f},
      {.do_sample = true, .epsilon_cutoff = 0.05f},
      {.do_sample = true, .eta_cutoff = 0.05f},
      {.do_sample = true, .encoder_repetition_penalty = 2.0f},
      {.do_sample = true, .encoder_no_repeat_ngram_size = 1},
      {.do_sample = true, .sequence_bias = std::vector<SequenceBias>{{{first[0]}, -5.0f}}},
      {.do_sample = true, .bad_words_ids = std::vector<Ids>{{first[0]}}},
      {.do_sample = true, .suppress_tokens = first},
      {.do_sample = true, .begin_suppress_tokens = first},
      {.do_sample = true, .forced_eos_token_id = Ids{9}},
      {.do_sample = true, .eos_token_id = Ids{63}, .exponential_decay_length_penalty = LengthDecay{1, 2.0f}},
      {.do_sample = true, .renormalize_logits = true},
      {.do_sample = true, .guidance_scale = 2.0f},
      {.do_sample = true, .watermarking_config = WatermarkingConfig{}},
      {.do_sample = true, .watermarking_config = SynthIDTextWatermarkingConfig{.keys = {1, 2, 3}}},
  };
  for (std::size_t i = 0; i < std::size(sampled); ++i) BOOST_TEST_CONTEXT("options " << i) {
      BOOST_TEST((answers(sampled[i]) != plain));
      if (sampled[i].renormalize_logits) continue;  // the scores of beams are normalised already
      GenerateOptions beams = sampled[i], plain_beams{.do_sample = true, .num_beams = 2};
      beams.num_beams = 2;
      BOOST_TEST((answers(beams) != answers(plain_beams)));
    }
  BOOST_CHECK_THROW(answers({.token_healing = true}), Error);  // without a tokenizer
}

BOOST_FIXTURE_TEST_CASE(lengths_and_penalties, Fixture) {
  Model model = random_model<Dense>(cpu, 1);
  const ModelInputs inputs = inputs_of(prompts());
  const auto free = model.generate(inputs, {.max_new_tokens = 12});
  // eos: what each row says first, third and fifth.
  const Ids eos{free.new_tokens[0][0], free.new_tokens[1][2], free.new_tokens[2][4]};
  const auto stopped = model.generate(inputs, {.max_new_tokens = 12, .eos_token_id = eos});
  BOOST_TEST(stopped.new_tokens[0].size() == 1u);
  for (const bool by_length : {false, true}) {
    GenerateOptions options{.max_new_tokens = 12, .eos_token_id = eos};
    if (by_length) {
      options.min_length = inputs.length() + 6;
    } else {
      options.min_new_tokens = 6;
      options.min_length = 1000;  // min_new_tokens goes first
    }
    const auto output = model.generate(inputs, options);
    for (const Ids& ids : output.new_tokens) {
      BOOST_TEST(ids.size() >= 7u);
      for (std::size_t i = 0; i < 6; ++i) BOOST_TEST((std::ranges::find(eos, ids[i]) == eos.end()));
    }
  }
  BOOST_TEST(model.generate(inputs, {.max_length = inputs.length() + 5}).new_tokens[0].size() == 5u);
  BOOST_TEST(model.generate(inputs, {.max_new_tokens = 4, .max_length = 1}).new_tokens[0].size() == 4u);
  BOOST_CHECK_THROW(model.generate(inputs, {.max_length = inputs.length()}), Error);
  // A presence penalty this strong allows each token once.
  const auto varied =
      model.generate(inputs, {.max_new_tokens = 12, .presence_penalty = 2.0f, .frequency_penalty = 2.0f});
  BOOST_TEST(varied.new_tokens != free.new_tokens);
  for (std::size_t row = 0; row < 3; ++row)
    BOOST_TEST(varied.new_tokens[row].front() == free.new_tokens[row].front());  // the prompt does not count
}

BOOST_FIXTURE_TEST_CASE(thinking_budgets, Fixture) {
  Model model = random_model<Dense>(cpu, 1);
  Prompt prompt = prompts()[0];
  prompt.text({20, 7});  // <think> and a newline
  const auto free = model.generate(inputs_of({prompt}), {.max_new_tokens = 12}).new_tokens[0];
  BOOST_REQUIRE(std::ranges::find(free, 21) == free.end());
  const ThinkingBudget budget{.max_tokens = 4, .begin_token = 20, .end_token = 21, .closing = {7, 21, 8}};
  for (const index_t lookup : {0, 5})
    for (const index_t beams : {1, 3}) {
      if (lookup > 0 && beams > 1) continue;
      const auto output = model.generate(inputs_of({prompt}), {.max_new_tokens = 12,
                                                               .num_beams = beams,
                                                               .num_return_sequences = beams,
                                                               .prompt_lookup_num_tokens = lookup,
                                                               .thinking_budget = budget});
      for (const Ids& ids : output.new_tokens) {
        BOOST_REQUIRE(ids.size() == 12u);
        BOOST_TEST((ids[4] == 7 && ids[5] == 21 && ids[6] == 8));
        if (beams == 1) BOOST_TEST(std::equal(ids.begin(), ids.begin() + 4, free.begin()));
      }
    }
  // What follows is what the model says behind the closed reasoning.
  const auto output = model.generate(inputs_of({prompt}), {.max_new_tokens = 12, .thinking_budget = budget});
  prompt.text({output.new_tokens[0].begin(), output.new_tokens[0].begin() + 7});
  const auto rest = model.generate(inputs_of({prompt}), {.max_new_tokens = 5}).new_tokens[0];
  BOOST_TEST(std::equal(rest.begin(), rest.end(), output.new_tokens[0].begin() + 7));
  BOOST_CHECK_THROW(
      model.generate(
          inputs_of({prompt}),
          {.thinking_budget = ThinkingBudget{.max_tokens = 4, .begin_token = 20, .end_token = 21, .closing = {}}}),
      Error);
}

template <class V>
void lookup_equals_plain(Cpu& cpu) {
  auto model = random_model<V>(cpu, 3);
  const Ids phrase = some_text(6, 9);
  std::vector<Prompt> repetitive = prompts();
  repetitive[1].text(phrase).text(phrase).text({phrase[0], phrase[1]});
  index_t passes = 0, plain_passes = 0, early = 0;
  for (const float penalty : {1.0f, 1.2f})
    for (const bool sample : {false, true})
      for (const std::size_t rows : {std::size_t{1}, std::size_t{3}})
        for (std::size_t first = 0; first + rows <= 3; ++first)
          for (const Ids& eos : {Ids{}, Ids{3, 11, 23, 38, 45, 51}}) {
            GenerateOptions options{.max_new_tokens = 40,
                                    .do_sample = sample,
                                    .temperature = 0.3f,
                                    .repetition_penalty = penalty,
                                    .eos_token_id = eos,
                                    .seed = 4,
                                    .output_logits = true};
            const std::vector<Prompt> batch(repetitive.begin() + static_cast<std::ptrdiff_t>(first),
                                            repetitive.begin() + static_cast<std::ptrdiff_t>(first + rows));
            const auto plain = model.generate(inputs_of(batch), options);
            options.prompt_lookup_num_tokens = 7;
            const auto lookup = model.generate(inputs_of(batch), options);
            BOOST_TEST(lookup.new_tokens == plain.new_tokens);
            BOOST_TEST((lookup.finish_reasons == plain.finish_reasons));
            BOOST_TEST(difference(lookup.logits.span(), plain.logits.span()) < 1e-4);
            BOOST_TEST(lookup.timings.decode_passes <= plain.timings.decode_passes);
            if (!sample && penalty == 1.0f) {
              passes += lookup.timings.decode_passes;
              plain_passes += plain.timings.decode_passes;
            }
            early += static_cast<index_t>(std::ranges::count(plain.finish_reasons, FinishReason::stop));
          }
  BOOST_TEST(passes < plain_passes * 9 / 10);
  BOOST_TEST(early > 0);
}

BOOST_FIXTURE_TEST_CASE(prompt_lookup_changes_nothing_dense, Fixture) { lookup_equals_plain<Dense>(cpu); }
BOOST_FIXTURE_TEST_CASE(prompt_lookup_changes_nothing_experts, Fixture) { lookup_equals_plain<Moe>(cpu); }

BOOST_FIXTURE_TEST_CASE(prompt_lookup_and_a_cache, Fixture) {
  Model model = random_model<Dense>(cpu, 3);
  PromptCache<Model> cache;
  Prompt prompt = prompts()[0];
  for (int turn = 0; turn < 3; ++turn) {
    const auto plain = model.generate(inputs_of({prompt}), {.max_new_tokens = 30});
    const auto lookup =
        model.generate(inputs_of({prompt}), {.max_new_tokens = 30, .prompt_lookup_num_tokens = 5}, &cache);
    BOOST_TEST(lookup.new_tokens == plain.new_tokens);
    BOOST_TEST(cache.length() == static_cast<index_t>(prompt.ids.size()) + 29);
    BOOST_TEST(cache.cache().length(0) == cache.length());
    prompt.text(plain.new_tokens[0]).text(some_text(4, static_cast<unsigned>(turn)));
  }
  BOOST_CHECK_THROW(model.generate(inputs_of({prompt}), {.num_beams = 2, .prompt_lookup_num_tokens = 5}), Error);
}

BOOST_AUTO_TEST_CASE(lookup_candidates) {
  const auto found = [](const Ids& ids, index_t most, index_t ngram) {
    return prompt_lookup_candidates(ids, most, ngram);
  };
  BOOST_TEST(found({1, 2, 3, 4, 1, 2}, 3, 2) == (Ids{3, 4, 1}));
  BOOST_TEST(found({1, 2, 3, 1, 2, 4, 1, 2}, 2, 2) == (Ids{4, 1}));  // the last occurrence
  BOOST_TEST(found({9, 2, 3, 8, 2, 4, 9, 2}, 2, 2) == (Ids{3, 8}));  // the longest n-gram first
  BOOST_TEST(found({9, 2, 3, 8, 2, 4, 7, 2}, 2, 2) == (Ids{4, 7}));  // else a shorter one
  BOOST_TEST(found({5, 5, 5}, 4, 2) == (Ids{5}));                    // up to the end only
  BOOST_TEST(found({1, 2, 3}, 4, 2).empty());
  BOOST_TEST(found({1}, 4, 2).empty());
  BOOST_TEST(found({}, 4, 2).empty());
  BOOST_TEST(found({1, 1}, 0, 2).empty());
  BOOST_TEST(found({1, 2, 1}, -1, 2).empty());
  BOOST_TEST(found({1, 2, 1}, 3, 1000) == (Ids{2, 1}));
}

BOOST_FIXTURE_TEST_CASE(reordered_sequences, Fixture) {
  // Contents are distinguished by their length and first key; what is shared is not touched.
  using Cache = HostKvCache<float, 1, 1, 4>;
  std::mt19937 generator(1);
  for (int round = 0; round < 200; ++round) {
    Cache cache(7);  // five in the middle
    const auto write = [&](index_t s, index_t i, float value) { cache.layer(0).keys(s, 0)[i * 4] = value; };
    std::vector<index_t> lengths;
    for (index_t s = 0; s < 7; ++s) lengths.push_back(3 + static_cast<index_t>(generator() % 100));
    cache.prepare(lengths);
    cache.commit();
    for (index_t s = 0; s < 7; ++s)
      for (index_t i = 0; i < lengths[static_cast<std::size_t>(s)]; ++i)
        write(s, i, static_cast<float>(i < 3 ? -i : s * 1000 + i));
    std::vector<index_t> sources;
    for (int i = 0; i < 5; ++i) sources.push_back(static_cast<index_t>(generator() % 5));
    std::vector<float*> memory;
    for (index_t s = 0; s < 7; ++s) memory.push_back(cache.layer(0).keys(s, 0));
    detail::reorder_sequences(cache, 1, sources, 3);
    // Each sequence that goes on keeps its memory, in its own place if it goes on there.
    for (index_t source = 0; source < 5; ++source) {
      if (std::ranges::find(sources, source) == sources.end()) continue;
      float* const own = memory[static_cast<std::size_t>(1 + source)];
      index_t at = 0;
      while (cache.layer(0).keys(at, 0) != own) ++at;
      BOOST_REQUIRE(sources[static_cast<std::size_t>(at - 1)] == source);
      if (sources[static_cast<std::size_t>(source)] == source) BOOST_REQUIRE(at == source + 1);
    }
    for (index_t s = 0; s < 7; ++s) {
      const index_t from = s == 0 || s == 6 ? s : 1 + sources[static_cast<std::size_t>(s - 1)];
      BOOST_REQUIRE(cache.length(s) == lengths[static_cast<std::size_t>(from)]);
      for (index_t i = 0; i < cache.length(s); ++i)
        BOOST_REQUIRE(cache.layer(0).keys(s, 0)[i * 4] == static_cast<float>(i < 3 ? -i : from * 1000 + i));
    }
  }
}

BOOST_AUTO_TEST_CASE(best_of_many_scores) {
  std::mt19937 generator(2);
  for (int round = 0; round < 300; ++round) {
    std::vector<float> scores(1 + generator() % 200);
    for (float& score : scores)
      score = generator() % 5 == 0 ? removed_score : static_cast<float>(generator() % 20);  // ties
    const std::size_t count = 1 + generator() % scores.size();
    BOOST_TEST(detail::best_scores(scores, count) == top(scores, count));
  }
}
