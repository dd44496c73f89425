// Searches a folder of images by texts, or by other images:   image_search CHECKPOINT FOLDER INDEX.npy QUERY...
// The embeddings of the folder's images are computed once and kept in INDEX.npy, for Python, too. A query is the name
// of an image, or a text. Any checkpoint has embeddings; those of Qwen3-VL-Embedding were trained to be compared.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/loading/pretrained_retrieval.hpp"
#include "qwen3vl/processing/retrieval/embedding_prompts.hpp"
#include "qwen3vl/variants/tiny_shapes_model.hpp"  // the variant, compiled once in a library

using namespace qwen3vl;
namespace fs = std::filesystem;
using V = variants::TinyShapes;
using Model = ForEmbedding<V, Cpu, Bf16>;

std::vector<std::string> images_of(const fs::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".png" || entry.path().extension() == ".jpg")
      files.push_back(entry.path().string());
  std::ranges::sort(files);
  return files;
}

int main(int argc, char** argv) try {
  if (argc < 5) fail("usage: image_search CHECKPOINT FOLDER INDEX.npy QUERY...");
  Cpu cpu;
  auto model = Model::from_pretrained(argv[1], cpu);
  const EmbeddingProcessor processor(Processor::from_pretrained(argv[1]));
  const auto embed = [&](const std::vector<EmbeddingInput>& inputs) { return model(processor.prompts(inputs)); };

  const std::vector<std::string> files = images_of(argv[2]);
  HostTensor<float, dynamic, V::config.text.hidden_size> index(static_cast<index_t>(files.size()));
  if (fs::exists(argv[3])) {
    index = read_npy<float, dynamic, V::config.text.hidden_size>(argv[3]);
    if (index.rows() != static_cast<index_t>(files.size())) fail(argv[3], " is of another folder; delete it");
  } else {
    for (index_t i = 0; i < index.rows(); ++i) {  // a batch of several would be faster, and take more memory
      const EmbeddingInput input{{.image = {image(files[static_cast<std::size_t>(i)])}}};
      std::ranges::copy(embed({input}).span(), index[i].data());
    }
    write_npy(argv[3], index);
  }

  for (int q = 4; q < argc; ++q) {
    EmbeddingInput query{{}, "Retrieve images relevant to the user's query."};
    if (fs::exists(argv[q])) {
      query = {{.image = {image(argv[q])}}};
    } else {
      query.text = {argv[q]};
    }
    const HostMatrix<float> vector = embed({query});
    std::vector<std::pair<float, std::string>> found;
    for (index_t i = 0; i < index.rows(); ++i) {
      const auto row = index[i].span();  // both have a length of 1: the product is the cosine
      found.emplace_back(std::inner_product(row.begin(), row.end(), vector.data(), 0.0f),
                         fs::path(files[static_cast<std::size_t>(i)]).filename().string());
    }
    std::ranges::sort(found, std::greater<>());
    std::printf("%s:", argv[q]);
    for (std::size_t i = 0; i < std::min<std::size_t>(3, found.size()); ++i)
      std::printf(" %.3f %s", static_cast<double>(found[i].first), found[i].second.c_str());
    std::puts("");
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "image_search: %s\n", error.what());
  return 1;
}
