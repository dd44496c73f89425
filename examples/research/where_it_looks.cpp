// Where does the model look? Hidden states and attention maps of one forward pass, and an image of them:
//   where_it_looks CHECKPOINT IMAGE QUESTION BEGINNING OUT.png
// BEGINNING is the answer's beginning ("The heart is"): the maps are those of its last token, at the moment when the
// next word is chosen. Bright is where it looks. Everything also goes to OUT.npy and OUT.safetensors, for Python.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>

#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/variants/tiny_shapes_model.hpp"  // the variant, compiled once in a library

using namespace qwen3vl;
using Model = ForConditionalGeneration<variants::TinyShapes, Cpu, Bf16>;

int main(int argc, char** argv) try {
  if (argc != 6) fail("usage: where_it_looks CHECKPOINT IMAGE QUESTION BEGINNING OUT.png");
  const std::filesystem::path folder = argv[1], out = argv[5];
  Cpu cpu;
  auto model = Model::from_pretrained(folder, cpu);
  const auto processor = Processor::from_pretrained(folder);
  const auto inputs = processor.apply_chat_template(
      {user({image(argv[2]), text(std::string(argv[3]))}), assistant(std::string(argv[4]))},
      {.continue_final_message = true});
  const ModelOutput output =
      model.forward(inputs, {.logits_to_keep = 1, .output_hidden_states = true, .output_attentions = true});

  const auto logits = output.logits[0][0].span();
  const auto next = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  std::printf("the next word:%s\n", processor.decode(std::vector{next}).c_str());

  // How much each token of the image gets from the last token: the mean over the heads of one layer.
  const GridThw grid = inputs.image_grid_thw.at(0);
  constexpr index_t merge = variants::TinyShapes::config.vision.spatial_merge_size;
  const index_t rows = grid.h / merge, columns = grid.w / merge, last = inputs.length() - 1;
  const auto& attention = output.attentions.at(2);  // of the third layer: [batch, heads, queries, keys]
  HostMatrix<float> map(rows, columns);
  index_t cell = 0;
  for (index_t token = 0; token < inputs.length(); ++token) {
    if (inputs.input_ids(0, token) != model.config().tokens.image_token_id) continue;
    for (index_t head = 0; head < attention.extent(1); ++head)
      map.data()[cell] += attention(0, head, last, token) / static_cast<float>(attention.extent(1));
    ++cell;
  }
  const auto peak = static_cast<index_t>(std::ranges::max_element(map.span()) - map.span().begin());
  float sum = 0.0f;
  for (const float weight : map.span()) sum += weight;
  std::printf("%.0f %% of the attention is on the image, most at row %lld of %lld, column %lld of %lld\n",
              100.0 * static_cast<double>(sum), static_cast<long long>(peak / columns + 1),
              static_cast<long long>(rows), static_cast<long long>(peak % columns + 1),
              static_cast<long long>(columns));

  // The image, darkened where the model does not look.
  Image image = load_image(argv[2]);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const float weight = map(y * rows / image.height, x * columns / image.width) / map.data()[peak];
      for (int c = 0; c < std::min(image.channels, 3); ++c) {
        auto& value = image.pixels[image.offset(y, x) + static_cast<std::size_t>(c)];
        value = static_cast<std::uint8_t>(static_cast<float>(value) * (0.15f + 0.85f * weight));
      }
    }
  }
  write_image(out, image);
  write_npy(std::filesystem::path(out).replace_extension("npy"), map);
  write_safetensors(
      std::filesystem::path(out).replace_extension("safetensors"),
      {stored_tensor("attention", attention), stored_tensor("hidden_states", output.hidden_states.back())});
} catch (const std::exception& error) {
  std::fprintf(stderr, "where_it_looks: %s\n", error.what());
  return 1;
}
