// Models in several threads of one process: each thread has its backend and its model, and gets the same answers as
// alone. Also built with ThreadSanitizer (the preset tsan), which finds races that do no harm here.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE threads_model
#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

using Answers = std::vector<std::vector<TokenId>>;

/// Everything a model does: loading, answers to a batch with an image and a video (greedy, then sampled), a prompt
/// cache.
Answers live(std::uint64_t seed, int threads) {
  Cpu cpu(threads);
  const auto model = [&] { return random_model<Dense>(cpu, seed); };
  auto one = model();
  const ModelInputs inputs = inputs_of({Prompt().text({5, 6}).image({{1, 4, 6}, 1}).text({7}),
                                        Prompt().text(some_text(9, 2)).video({{2, 4, 4}, 5}).text({8, 9})});
  Answers answers = one.generate(inputs, {.max_new_tokens = 8}).new_tokens;
  GenerateOptions sampled{.max_new_tokens = 8};
  sampled.do_sample = true;
  sampled.seed = seed;
  for (auto& row : one.generate(inputs, sampled).new_tokens) answers.push_back(row);
  PromptCache<ForConditionalGeneration<Dense, Cpu, F32>> cache;
  const ModelInputs single = inputs_of({Prompt().text({5, 6}).image({{1, 4, 6}, 3}).text({7})});
  for (int turn = 0; turn < 2; ++turn)
    answers.push_back(one.generate(single, {.max_new_tokens = 4}, &cache).new_tokens[0]);
  return answers;
}

}  // namespace

BOOST_AUTO_TEST_CASE(models_in_threads_answer_as_alone) {
  for (const int threads : {1, 2}) {
    std::vector<Answers> alone, together(3);
    for (std::size_t i = 0; i < together.size(); ++i) alone.push_back(live(i / 2, threads));
    BOOST_TEST(alone[0] == alone[1]);
    BOOST_TEST(alone[0] != alone[2]);
    std::vector<std::thread> running;
    for (std::size_t i = 0; i < together.size(); ++i)
      running.emplace_back([&, i] {
        for (int round = 0; round < 3; ++round) together[i] = live(i / 2, threads);
      });
    for (std::thread& thread : running) thread.join();
    BOOST_TEST(together == alone);
  }
}
