/// Everything: from a checkpoint folder and an image to an answer, and every other header of the library but those
/// that need more than its own libraries: CUDA (backend/cuda.cuh), video files (io/video/libav_video.hpp), JPEG files
/// as Pillow reads them (io/image/turbojpeg_image.hpp), WebP files (io/image/webp_image.hpp), or all of these as linked
/// (io/video/linked_readers.hpp). Programs that need less include less, which compiles faster: a layer's header brings
/// only that layer.
#pragma once

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/eigen.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/io/weights/gguf.hpp"
#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "qwen3vl/layers/score_functions.hpp"
#include "qwen3vl/loading/pretrained_retrieval.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/loading/save_pretrained.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/chat/request_json.hpp"
#include "qwen3vl/processing/grounding/draw_grounding.hpp"
#include "qwen3vl/processing/grounding/grounding.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_json.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include "qwen3vl/tensor/eigen.hpp"
#include "qwen3vl/text/padded_forward.hpp"
#include "qwen3vl/trace/chrome_trace.hpp"
