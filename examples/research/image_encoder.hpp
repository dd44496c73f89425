// The vision tower of a checkpoint alone, as an image encoder: one vector for each image. No text model, no
// tokenizer.
#pragma once

#include <span>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/compare.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/loading/checkpoint_source.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/vision/vision_model.hpp"

template <qwen3vl::Variant V, class P>
class ImageEncoder {
  static constexpr qwen3vl::VisionConfig vision = V::config.vision;

  qwen3vl::Context<qwen3vl::Cpu> ctx_;
  qwen3vl::VisionModel<V, qwen3vl::Cpu, P> tower_;
  qwen3vl::ImageProcessor processor_;

 public:
  using Vectors = qwen3vl::HostTensor<float, qwen3vl::dynamic, vision.out_hidden_size>;

  ImageEncoder(const qwen3vl::CheckpointFiles& files, qwen3vl::Cpu& cpu)
      : ctx_(cpu), processor_(qwen3vl::ImageProcessor::from_pretrained(files)) {
    const auto config = qwen3vl::config_from_json(files.needed_json("config.json"), files.place_of("config.json"));
    qwen3vl::require_equal(V::config, config.model, files.place_of("config.json"));
    tower_.set_rope_theta(config.runtime.vision_rope_theta);
    const auto checkpoint = files.weights();
    load_parameters(ctx_, tower_, qwen3vl::CheckpointSource(checkpoint, "model.visual."), checkpoint.name());
  }

  // The mean of each image's rows in pooler_output, which are what the text model would get. [images,
  // out_hidden_size]
  Vectors operator()(std::span<const qwen3vl::Image> images) {
    const auto features = processor_(images);
    const auto output = tower_.forward(ctx_, features.pixel_values, features.image_grid_thw);
    Vectors vectors(static_cast<qwen3vl::index_t>(images.size()));
    qwen3vl::index_t row = 0;
    for (qwen3vl::index_t i = 0; i < vectors.rows(); ++i) {
      const auto tokens = features.image_grid_thw[static_cast<std::size_t>(i)].patches() / vision.merge_unit();
      for (const auto end = row + tokens; row < end; ++row)
        for (qwen3vl::index_t d = 0; d < vision.out_hidden_size; ++d)
          vectors(i, d) += output.pooler_output(row, d) / static_cast<float>(tokens);
    }
    return vectors;
  }
};
