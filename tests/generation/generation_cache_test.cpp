// The prompt cache in conversations with images and videos: the same answers as without a cache, and nothing computed
// that need not be.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_cache
#include <boost/test/unit_test.hpp>
#include <string>

#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

using Model = ForConditionalGeneration<Dense, Cpu, F32>;

constexpr RandomImage cat{{1, 4, 6}, 1}, dog{{1, 4, 6}, 2}, wide{{1, 2, 8}, 3};
constexpr RandomImage walk{{3, 2, 4}, 4}, run{{2, 4, 4}, 5};

struct Fixture {
  Cpu cpu{1};
  Model model = random_model<Dense>(cpu, 5);
  PromptCache<Model> cache;

  /// Computes an answer with the cache and without; returns the timings of the former.
  GenerationTimings turn(const Prompt& prompt, index_t chunk = 512) {
    const ModelInputs inputs = inputs_of({prompt});
    const GenerateOptions options{.max_new_tokens = 5, .output_logits = true, .prefill_chunk = chunk};
    const auto fresh = model.generate(inputs, options);
    const auto cached = model.generate(inputs, options, &cache);
    BOOST_TEST(cached.new_tokens == fresh.new_tokens);
    BOOST_TEST(difference(cached.logits.span(), fresh.logits.span()) < 1e-5);
    BOOST_TEST(cache.length() == static_cast<index_t>(prompt.ids.size()) + 4);
    BOOST_TEST(cached.timings.prompt_tokens == static_cast<index_t>(prompt.ids.size()));
    answer = cached.new_tokens[0];
    return cached.timings;
  }
  std::vector<TokenId> answer;
};

index_t patches(std::initializer_list<RandomImage> images) {
  index_t sum = 0;
  for (const RandomImage& image : images) sum += image.grid.patches();
  return sum;
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(images_and_videos_over_several_turns, Fixture) {
  for (const index_t chunk : {512, 3}) {
    cache.clear();
    Prompt prompt = Prompt().text({5, 6}).video(walk).text({7, 8});
    auto timings = turn(prompt, chunk);
    BOOST_TEST(timings.computed_tokens == static_cast<index_t>(prompt.ids.size()));
    BOOST_TEST(timings.computed_patches == patches({walk}));

    prompt.text(answer).text({9}).image(cat).text({10});
    std::size_t before = prompt.ids.size();
    timings = turn(prompt, chunk);  // the last token of an answer is not in the cache
    BOOST_TEST(timings.computed_tokens == 1 + 1 + 2 + 6 + 1);
    BOOST_TEST(timings.computed_patches == patches({cat}));

    prompt.text(answer).text({11, 12}).image(dog).video(run).text({13});
    timings = turn(prompt, chunk);
    BOOST_TEST(timings.computed_tokens == static_cast<index_t>(prompt.ids.size() - before) - 4);
    BOOST_TEST(timings.computed_patches == patches({dog, run}));

    before = prompt.ids.size();
    prompt.text(answer).text({14, 15, 16});
    timings = turn(prompt, chunk);
    BOOST_TEST(timings.computed_tokens == static_cast<index_t>(prompt.ids.size() - before) - 4);
    BOOST_TEST(timings.computed_patches == 0);

    timings = turn(prompt, chunk);  // the very same again
    BOOST_TEST(timings.computed_tokens == 1);
    BOOST_TEST(timings.computed_patches == 0);
  }
}

BOOST_FIXTURE_TEST_CASE(a_changed_beginning_keeps_the_images, Fixture) {
  turn(Prompt().text({5, 6}).image(cat).text({7}).video(walk).text({8}));
  // Another system prompt: all tokens are computed again, no image is.
  Prompt changed = Prompt().text({5, 9, 6}).image(cat).text({7}).video(walk).text({8});
  auto timings = turn(changed);
  BOOST_TEST(timings.computed_tokens == static_cast<index_t>(changed.ids.size()) - 1);
  BOOST_TEST(timings.computed_patches == 0);
  // The images in another order, one of them twice, and a new one.
  changed = Prompt().text({5}).video(walk).image(dog).image(cat).text({8}).image(dog);
  changed.text({4});
  timings = turn(changed);
  BOOST_TEST(timings.computed_patches == patches({dog}));
  // The same image twice in one prompt is computed once.
  cache.clear();
  BOOST_TEST(cache.features().size() == 0u);
  timings = turn(Prompt().image(wide).text({3}).image(wide).text({3}));
  BOOST_TEST(timings.computed_patches == patches({wide}));
}

BOOST_FIXTURE_TEST_CASE(another_image_with_the_same_tokens_is_another_image, Fixture) {
  Prompt prompt = Prompt().text({5}).image(cat).text({6, 7});
  turn(prompt);
  const auto of_cat = answer;
  prompt = Prompt().text({5}).image(dog).text({6, 7});
  const auto timings = turn(prompt);
  BOOST_TEST(timings.computed_tokens == static_cast<index_t>(prompt.ids.size()) - 2);  // from the image on
  BOOST_TEST(timings.computed_patches == patches({dog}));
  // Only the groups of frames of a video that changed go through the tower; tokens are computed from the first of them
  // on.
  cache.clear();
  const auto video = [](unsigned last) {
    ModelInputs inputs = inputs_of({Prompt().text({5}).video(walk).text({6, 7})});
    const std::vector<float> other = pixels_of({{1, 2, 4}, last});
    std::ranges::copy(other, inputs.pixel_values_videos.data() + 16 * patch_dim);
    return inputs;
  };
  const GenerateOptions options{.max_new_tokens = 3, .output_logits = true};
  model.generate(video(100), options, &cache);
  const auto cached = model.generate(video(101), options, &cache);
  BOOST_TEST(cached.timings.computed_patches == 8);
  BOOST_TEST(cached.timings.computed_tokens == 2 + 1 + 2);  // of the last group, its end, and text
  BOOST_TEST(difference(cached.logits.span(), model.generate(video(101), options).logits.span()) < 1e-5);
  BOOST_TEST(difference(cached.logits.span(), model.generate(video(100), options).logits.span()) > 1e-4);
}

BOOST_FIXTURE_TEST_CASE(features_stay_within_their_limit, Fixture) {
  const std::size_t of_cat =
      static_cast<std::size_t>(cat.grid.tokens(2)) * 32 * sizeof(float) * 2;  // and one DeepStack
  cache = PromptCache<Model>(2 * of_cat + 100);
  turn(Prompt().image(cat).text({1}));
  BOOST_TEST(cache.features().bytes() == of_cat);
  turn(Prompt().image(dog).text({2}));
  BOOST_TEST(cache.features().size() == 2u);
  BOOST_TEST(turn(Prompt().text({9}).image(cat).text({1})).computed_patches == 0);  // used again: dog is the oldest
  turn(Prompt().text({8}).image({{1, 4, 6}, 30}).text({2}));
  BOOST_TEST(cache.features().size() == 2u);
  BOOST_TEST(cache.features().bytes() <= 2 * of_cat + 100);
  BOOST_TEST(turn(Prompt().text({7}).image(cat).text({1})).computed_patches == 0);
  BOOST_TEST(turn(Prompt().text({6}).image(dog).text({1})).computed_patches == patches({dog}));
  // If none are kept, or one is too large, it works all the same.
  for (const std::size_t limit : {std::size_t{0}, std::size_t{10}}) {
    cache = PromptCache<Model>(limit);
    BOOST_TEST(turn(Prompt().text({1}).image(cat).text({1})).computed_patches == patches({cat}));
    BOOST_TEST(turn(Prompt().text({2}).image(cat).text({1})).computed_patches == patches({cat}));
    BOOST_TEST(cache.features().bytes() == 0u);
  }
}

BOOST_FIXTURE_TEST_CASE(wrong_inputs_leave_a_usable_cache, Fixture) {
  const Prompt prompt = Prompt().text({5}).image(cat).video(walk).text({6, 7});
  turn(prompt);
  ModelInputs broken = inputs_of({Prompt(prompt).image(dog).text({3})});
  broken.pixel_values = HostMatrix<float>(30, patch_dim);
  BOOST_CHECK_THROW(model.generate(broken, {.max_new_tokens = 2}, &cache), Error);
  broken = inputs_of({Prompt(prompt).image(dog).text({3})});
  broken.image_grid_thw[1] = {1, std::int64_t{1} << 40, std::int64_t{1} << 40};
  BOOST_CHECK_THROW(model.generate(broken, {.max_new_tokens = 2}, &cache), Error);
  broken = inputs_of({Prompt(prompt).image(dog).text({3})});
  broken.video_grid_thw[0].t = 2;
  BOOST_CHECK_THROW(model.generate(broken, {.max_new_tokens = 2}, &cache), Error);
  // A processor that throws in the middle of an answer.
  GenerateOptions throwing{.max_new_tokens = 4};
  throwing.logits_processors.push_back([&](std::span<const TokenId> ids, std::span<float>) {
    if (ids.size() > prompt.ids.size() + 4) fail("enough");
  });
  BOOST_CHECK_THROW(model.generate(inputs_of({Prompt(prompt).image(dog).text({3})}), throwing, &cache), Error);
  turn(Prompt(prompt).image(dog).text({3, 4}));
}

// A batch has a conversation in each row, of its own length and with its own images.
BOOST_FIXTURE_TEST_CASE(a_conversation_in_each_row, Fixture) {
  std::vector<Prompt> batch{Prompt().text({5, 6}).video(walk).text({7, 8}), Prompt().text({9}).image(cat).text({10}),
                            Prompt().text(some_text(9, 1))};
  struct Turn {
    index_t tokens, patches;
  };
  // Answers with the cache and without; adds them to the prompts.
  const auto turn_of = [&](GenerateOptions options, bool pad_left = true) {
    options.max_new_tokens = 5;
    options.output_logits = true;
    const ModelInputs inputs = inputs_of(batch, pad_left);
    const auto fresh = model.generate(inputs, options), cached = model.generate(inputs, options, &cache);
    BOOST_TEST(cached.new_tokens == fresh.new_tokens);
    BOOST_TEST((cached.finish_reasons == fresh.finish_reasons));
    BOOST_TEST(difference(cached.logits.span(), fresh.logits.span()) < 1e-5);
    const bool several = options.num_beams || options.num_return_sequences;
    for (std::size_t b = 0; b < batch.size(); ++b) {
      const std::size_t copies = cached.new_tokens.size() / batch.size();
      const auto& ids = cached.new_tokens[b * copies];
      BOOST_TEST(cache.length(static_cast<index_t>(b)) ==
                 static_cast<index_t>(batch[b].ids.size() + (several ? 0 : ids.size() - 1)));
      batch[b].text(ids);
    }
    return Turn{cached.timings.computed_tokens, cached.timings.computed_patches};
  };
  const auto tokens = [&] {
    index_t all = 0;
    for (const Prompt& prompt : batch) all += static_cast<index_t>(prompt.ids.size());
    return all;
  };
  const index_t all = tokens();
  Turn turn = turn_of({});
  BOOST_TEST(turn.tokens == all);
  BOOST_TEST(turn.patches == patches({walk, cat}));
  BOOST_TEST(cache.rows() == 3);
  batch[0].text({11}).image(dog).text({12});
  batch[1].text({13});
  batch[2].text({14, 15}).video(run).image(cat);
  index_t before = tokens();
  turn = turn_of({.prefill_chunk = 3}, false);
  BOOST_TEST(turn.tokens == 3 * 1 + (1 + 8 + 1) + 1 + (2 + 2 * 7 + 8));  // the last token of an answer is not cached
  BOOST_TEST(turn.patches == patches({dog, run}));                       // cat is known from another row
  // Fewer rows: the third one waits.
  Prompt third = std::move(batch.back());
  batch.pop_back();
  turn = turn_of({.prompt_lookup_num_tokens = 3});
  BOOST_TEST(turn.tokens == 2);
  BOOST_TEST(cache.rows() == 3);
  BOOST_TEST(cache.length(2) == static_cast<index_t>(third.ids.size()) - 1);
  // More rows, one of them new, and one that ends early.
  batch.push_back(std::move(third));
  batch.push_back(Prompt().image(wide).text({3}));
  batch[0].text({20});
  before = static_cast<index_t>(batch[3].ids.size());
  turn = turn_of({.streamer = [count = 0](index_t row, TokenId) mutable { return row % 4 != 1 || ++count % 2 == 1; }});
  BOOST_TEST(turn.tokens == 2 + 1 + 1 + before);
  BOOST_TEST(cache.rows() == 4);
  // Another beginning of one row is of no concern to the others.
  batch[1] = Prompt().text({30, 31, 32});
  turn = turn_of({});
  BOOST_TEST(turn.tokens == 1 + 3 + 1 + 1);
  BOOST_TEST(turn.patches == 0);
  // Several answers: the cache has the prompts only.
  for (const GenerateOptions& options :
       {GenerateOptions{.num_beams = 2}, GenerateOptions{.do_sample = true, .num_return_sequences = 3, .seed = 3}}) {
    turn_of(options);
    turn = turn_of({});
    BOOST_TEST(turn.tokens == 4 * 5);
  }
  // Single conversations use the first row.
  turn = turn_of({});
  batch.resize(1);
  turn = turn_of({});
  BOOST_TEST(turn.tokens == 1);
  BOOST_TEST(cache.length() == static_cast<index_t>(batch[0].ids.size()) - 1);
  cache.clear();
  for (index_t row = 0; row < 4; ++row) BOOST_TEST(cache.length(row) == 0);
}

// Of tokens that the cache holds, nothing is computed, and so nothing recorded: step 0 begins with the first column
// that any row computes.
BOOST_FIXTURE_TEST_CASE(layers_of_what_is_computed, Fixture) {
  std::vector<Prompt> batch{Prompt().text({5, 6}).image(cat).text({7, 8}), Prompt().text({9, 10, 11})};
  const GenerateOptions options{.max_new_tokens = 3, .output_attentions = true, .output_hidden_states = true};
  for (const auto copies : {1, 2}) {
    cache.clear();
    GenerateOptions several = options;
    several.num_beams = copies;
    model.generate(inputs_of(batch), options, &cache);
    std::vector<Prompt> next = batch;
    next[0].text({20, 21, 22, 23});
    next[1].text({24, 25});
    const ModelInputs inputs = inputs_of(next);
    const auto fresh = model.generate(inputs, several), cached = model.generate(inputs, several, &cache);
    BOOST_TEST(cached.new_tokens == fresh.new_tokens);
    const index_t computed = cached.hidden_states[0][0].extent(1), skipped = inputs.length() - computed;
    BOOST_TEST(computed == 4);
    for (std::size_t step = 0; step < 3; ++step)
      for (std::size_t layer = 0; layer < 2; ++layer)
        for (index_t row = 0; row < 2 * copies; ++row)
          for (index_t query = 0; query < (step == 0 ? computed : 1); ++query) {
            const index_t from = step == 0 ? skipped + query : query;
            const bool known = step == 0 && row >= copies && query < 2;  // the second prompt has two new tokens
            const auto states = cached.hidden_states[step][layer][row][query];
            if (known) {
              BOOST_TEST(std::ranges::count(states.span(), 0.0f) == 32);
            } else {
              BOOST_TEST(difference(states.span(), fresh.hidden_states[step][layer][row][from].span()) < 1e-5);
            }
            for (index_t h = 0; h < 2; ++h) {
              const auto weights = cached.attentions[step][layer][row][h][query];
              if (known) {
                BOOST_TEST(std::ranges::count(weights.span(), 0.0f) == inputs.length());
              } else {
                BOOST_TEST(difference(weights.span(), fresh.attentions[step][layer][row][h][from].span()) < 1e-5);
              }
            }
          }
  }
}

BOOST_FIXTURE_TEST_CASE(packed_and_padded_prompts_are_the_same, Fixture) {
  const Prompt a = Prompt().text({5}).image(cat).video(walk).text({6, 7}).image(dog), b = Prompt().video(run).text({8});
  const GenerateOptions options{.max_new_tokens = 5, .output_logits = true};
  const auto prompts_of = [&](const std::vector<Prompt>& batch, bool pad_left) {
    ModelInputs inputs = inputs_of(batch, pad_left);
    PromptTokens tokens = from_padded(inputs, pack(inputs.batch_size(), inputs.length(), inputs.attention_mask),
                                      image_token_id, video_token_id, 2);
    return Prompts{std::move(tokens), std::move(static_cast<Media&>(inputs))};
  };
  for (const bool left : {true, false}) {
    const ModelInputs inputs = inputs_of({a, b}, left);
    const Prompts prompts = prompts_of({a, b}, left);
    BOOST_REQUIRE(prompts.spans.size() == 7u);
    BOOST_TEST(prompts.spans[1].begin == 1 + 8 + 2);
    BOOST_TEST((prompts.spans[1].grid == GridThw{1, 2, 4}));
    BOOST_TEST(prompts.spans.back().row == 1);
    const PromptTokens& tokens = prompts;
    const ModelInputs again = to_padded(tokens, 0, left ? PaddingSide::left : PaddingSide::right);
    BOOST_TEST(std::ranges::equal(again.input_ids.span(), inputs.input_ids.span()));
    BOOST_TEST(std::ranges::equal(again.attention_mask.span(), inputs.attention_mask.span()));
    BOOST_TEST(std::ranges::equal(again.mm_token_type_ids.span(), inputs.mm_token_type_ids.span()));
    const GenerateOutput packed = model.generate(prompts, options), padded = model.generate(inputs, options);
    BOOST_TEST(packed.new_tokens == padded.new_tokens);
    BOOST_TEST(std::ranges::equal(packed.logits.span(), padded.logits.span()));
    if (left) BOOST_TEST(std::ranges::equal(packed.sequences.span(), padded.sequences.span()));
  }
  // Each form of the prompt finds what the other has left in a prompt cache.
  model.generate(prompts_of({a}, true), options, &cache);
  BOOST_TEST(turn(Prompt(a).text({9})).computed_patches == 0);

  const auto refused = [&](auto change, const char* what) {
    Prompts broken = prompts_of({a}, true);
    change(broken);
    for (PromptCache<Model>* const with : {&cache, static_cast<PromptCache<Model>*>(nullptr)})
      BOOST_CHECK_EXCEPTION(model.generate(broken, options, with), Error, [&](const Error& error) {
        BOOST_TEST_MESSAGE(error.what());
        return std::string(error.what()).find(what) != std::string::npos;
      });
  };
  refused([](Prompts& p) { p.spans[1].count = 3; }, "video tokens, its spans");
  refused([](Prompts& p) { p.spans.back().begin += 4; }, "row 0 has 6 tokens for an image");
  refused([](Prompts& p) { std::swap(p.spans[0], p.spans[1]); }, "not in the order of their tokens");
  refused([](Prompts& p) { p.spans[0].begin = -1; }, "not in the order of their tokens");
  refused([](Prompts& p) { p.ids.pop_back(); }, "the rows of the prompts are of");
  refused([](Prompts& p) { p.media.image_grid_thw.clear(), p.media.pixel_values = {}; },
          "more runs of image tokens than image_grid_thw");
  refused([](Prompts& p) { p.spans.pop_back(); }, "image_grid_thw has more entries");
  refused([](Prompts& p) { p.spans.erase(p.spans.begin()); }, "image_grid_thw has more entries");
  refused([](Prompts& p) { std::swap(p.media.image_grid_thw[0].t, p.media.image_grid_thw[0].h); }, "has a grid of");
  refused([](Prompts& p) { p.spans.clear(), p.media = {}; }, "image tokens, its spans 0");
  refused([](Prompts& p) { p.spans[0].row = 3; }, "a span of row 3 stands in row 0");
  refused([](Prompts& p) { p.spans[0].kind = text_token; }, "is of no image or video");
  Prompts elsewhere = prompts_of({a}, true);
  elsewhere.spans[0].row = 3;
  BOOST_CHECK_THROW(to_padded(std::move(elsewhere), 0, PaddingSide::left), Error);
  Prompts blind = prompts_of({a}, true);
  blind.media = {};
  BOOST_CHECK_THROW(model.generate(blind, options), Error);
  BOOST_CHECK_THROW(model.generate(Prompts{}, options), Error);
  turn(Prompt(a).text({9, 10}));
}
