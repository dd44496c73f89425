// The vision tower alone as an image encoder: which images are alike?   image_encoder CHECKPOINT [IMAGE IMAGE...]
// Without images it draws two of each shape and colour, in other places and sizes, and looks for each one's nearest.
#include "image_encoder.hpp"

#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "drawing.hpp"
#include "qwen3vl/variants/tiny_shapes.hpp"

int main(int argc, char** argv) try {
  using namespace qwen3vl;
  if (argc < 2 || argc == 3) fail("usage: image_encoder CHECKPOINT [IMAGE IMAGE...]");
  std::vector<Image> images;
  std::vector<std::string> names;
  for (int i = 2; i < argc; ++i) {
    images.push_back(load_image(argv[i]));
    names.emplace_back(argv[i]);
  }
  if (argc == 2) {
    std::mt19937 random(2);
    for (int copy = 0; copy < 2; ++copy) {
      for (int i = 0; i < shapes * colours; ++i) {
        images.push_back(draw(static_cast<Shape>(i % shapes), static_cast<Colour>(i / shapes), random));
        names.push_back(concat(colour_names[i / shapes], " ", shape_names[i % shapes]));
      }
    }
  }

  Cpu cpu;
  ImageEncoder<variants::TinyShapes, Bf16> encoder(argv[1], cpu);
  auto vectors = encoder(images);
  // The mean over all images carries no information; of the rest, only the direction matters.
  for (index_t d = 0; d < vectors.extent(1); ++d) {
    float mean = 0.0f;
    for (index_t i = 0; i < vectors.rows(); ++i) mean += vectors(i, d) / static_cast<float>(vectors.rows());
    for (index_t i = 0; i < vectors.rows(); ++i) vectors(i, d) -= mean;
  }
  const auto dot = [&](index_t i, index_t j) {
    const auto a = vectors[i].span(), b = vectors[j].span();
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0f);
  };
  int right = 0;
  for (index_t i = 0; i < vectors.rows(); ++i) {
    index_t nearest = -1;
    float highest = -2.0f;
    for (index_t j = 0; j < vectors.rows(); ++j) {
      const float cosine = dot(i, j) / std::sqrt(dot(i, i) * dot(j, j));
      if (j == i || cosine <= highest) continue;
      nearest = j;
      highest = cosine;
    }
    const std::string &name = names.at(static_cast<std::size_t>(i)),
                      &other = names.at(static_cast<std::size_t>(nearest));
    std::printf("%-16s is most like %-16s (%.2f)\n", name.c_str(), other.c_str(), static_cast<double>(highest));
    right += name == other;
  }
  if (argc == 2) std::printf("%d of %zu found the other one of their kind, by chance it is 1\n", right, names.size());
} catch (const std::exception& error) {
  std::fprintf(stderr, "image_encoder: %s\n", error.what());
  return 1;
}
