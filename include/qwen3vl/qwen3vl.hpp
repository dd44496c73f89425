/// Everything: from a checkpoint folder and a picture to an answer, and every other header of the library but those
/// that need more than its own libraries: CUDA (backend/cuda.cuh), video files (io/libav_video.hpp), JPEG files as
/// Pillow reads them (io/turbojpeg_image.hpp). Programs that need less include less, which compiles faster: a layer's
/// header brings only that layer.
#pragma once

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/io/chrome_trace.hpp"
#include "qwen3vl/io/npy.hpp"
#include "qwen3vl/io/write_image.hpp"
#include "qwen3vl/io/write_safetensors.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/model/pretrained.hpp"
#include "qwen3vl/model/random_weights.hpp"
#include "qwen3vl/processing/answer.hpp"
#include "qwen3vl/processing/draw_grounding.hpp"
#include "qwen3vl/processing/grounding.hpp"
#include "qwen3vl/processing/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/stop_strings.hpp"
#include "qwen3vl/processing/thinking.hpp"
#include "qwen3vl/processing/token_stream.hpp"
#include "qwen3vl/tensor/eigen.hpp"
#include "qwen3vl/text/padded_forward.hpp"
