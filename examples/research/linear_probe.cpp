// A linear probe: what can be read linearly from the vision features?   linear_probe CHECKPOINT A ridge regression from
// the mean feature of an image to its shape, and one to its colour, fitted on some drawn images and tested on others.
// The mean colour of the pixels is probed in the same way, for comparison.
#include <cstdio>
#include <vector>

#include "drawing.hpp"
#include "image_encoder.hpp"
#include "qwen3vl/variants/tiny_shapes.hpp"

using namespace qwen3vl;
using Encoder = ImageEncoder<variants::TinyShapes, Bf16>;
using Rows = std::vector<std::vector<double>>;

struct Examples {
  Rows features, pixels;           // of each image; the last value is 1
  std::vector<int> shape, colour;  // of each image
};

Examples make(Encoder& encoder, int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Image> images;
  Examples examples;
  for (int i = 0; i < count; ++i) {
    const auto shape = static_cast<Shape>(random() % shapes);
    const auto colour = static_cast<Colour>(random() % colours);
    examples.shape.push_back(shape);
    examples.colour.push_back(colour);
    const Image& image = images.emplace_back(draw(shape, colour, random));
    auto& mean = examples.pixels.emplace_back(4, 0.0);
    for (std::size_t j = 0; j < image.pixels.size(); ++j) mean[j % 3] += image.pixels[j] / 1e6;
    mean[3] = 1.0;
  }
  const auto vectors = encoder(images);
  for (index_t i = 0; i < vectors.rows(); ++i) {
    const auto row = vectors[i].span();
    examples.features.emplace_back(row.begin(), row.end()).push_back(1.0);
  }
  return examples;
}

// w of (X^T X + ridge) w = X^T y, by conjugate gradients.
std::vector<double> fit(const Rows& x, const std::vector<double>& y, double ridge) {
  const std::size_t n = x[0].size();
  std::vector<double> w(n, 0.0), r(n, 0.0), p, q(n);
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t d = 0; d < n; ++d) r[d] += x[i][d] * y[i];
  p = r;
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
    return sum;
  };
  double rr = dot(r, r);
  const double enough = 1e-12 * rr;
  for (int i = 0; i < 1000 && rr > enough; ++i) {
    for (std::size_t d = 0; d < n; ++d) q[d] = ridge * p[d];
    for (const auto& row : x) {
      const double along = dot(row, p);
      for (std::size_t d = 0; d < n; ++d) q[d] += row[d] * along;
    }
    const double step = rr / dot(p, q), before = rr;
    for (std::size_t d = 0; d < n; ++d) w[d] += step * p[d], r[d] -= step * q[d];
    rr = dot(r, r);
    for (std::size_t d = 0; d < n; ++d) p[d] = r[d] + rr / before * p[d];
  }
  return w;
}

// Accuracy on `test`: one regression per class, the highest wins.
double accuracy(const Rows& train, const std::vector<int>& labels, const Rows& test, const std::vector<int>& truth,
                int classes) {
  std::vector<double> best(test.size(), -1e300);
  std::vector<int> answers(test.size());
  for (int c = 0; c < classes; ++c) {
    std::vector<double> targets;
    for (const int label : labels) targets.push_back(label == c);
    const std::vector<double> w = fit(train, targets, 1e-2);
    for (std::size_t i = 0; i < test.size(); ++i) {
      double score = 0.0;
      for (std::size_t d = 0; d < w.size(); ++d) score += w[d] * test[i][d];
      if (score > best[i]) best[i] = score, answers[i] = c;
    }
  }
  int right = 0;
  for (std::size_t i = 0; i < test.size(); ++i) right += answers[i] == truth[i];
  return static_cast<double>(right) / static_cast<double>(test.size());
}

int main(int argc, char** argv) try {
  if (argc != 2) fail("usage: linear_probe CHECKPOINT");
  Cpu cpu;
  Encoder encoder(argv[1], cpu);
  const Examples train = make(encoder, 240, 1), test = make(encoder, 120, 2);
  const auto report = [&](const char* what, const std::vector<int>& labels, const std::vector<int>& truth,
                          int classes) {
    std::printf("%s: %.2f right from the features, %.2f from the mean colour, %.2f by chance\n", what,
                accuracy(train.features, labels, test.features, truth, classes),
                accuracy(train.pixels, labels, test.pixels, truth, classes), 1.0 / classes);
  };
  report("shape", train.shape, test.shape, shapes);
  report("colour", train.colour, test.colour, colours);
} catch (const std::exception& error) {
  std::fprintf(stderr, "linear_probe: %s\n", error.what());
  return 1;
}
