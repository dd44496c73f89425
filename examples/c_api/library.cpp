// The C API (include/qwen3vl/c/qwen3vl.h) for the variant and precision of the build: libqwen3vl-<variant>.so.
#include <atomic>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "program/commit.hpp"
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/c/qwen3vl.h"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include QWEN3VL_VARIANT_HEADER

namespace {

using namespace qwen3vl;
using Model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Cpu, qwen3vl::QWEN3VL_PRECISION>;

/// An answer without a limit in the checkpoint's generation_config.json ends here, as in the program.
constexpr index_t default_max_new_tokens = 1024;

/// Never moved: the model points at the handle.
struct Loaded {
  Loaded(const std::filesystem::path& folder, int threads, const PretrainedOptions& options, ProcessorOptions how)
      : reading(std::move(how)),
        cpu(threads),
        processor(Processor::from_pretrained(folder, std::nullopt, reading.warn)),
        model(Model::from_pretrained(folder, cpu, options)) {
    processor.num_multimodal_tokens({}, {}, reading);  // a wrong budget is an error now
  }

  ProcessorOptions reading;  ///< the caller's of it
  Cpu cpu;
  Processor processor;
  Model model;
};

std::string& last_error() {
  thread_local std::string text;
  return text;
}

/// Runs f; what it throws becomes the thread's error and `failed` the result. Cancelled is no error: see ask().
template <class T, class F>
T guarded(T failed, F&& f) noexcept {
  try {
    return f();
  } catch (const std::exception& error) {
    try {
      last_error() = error.what();
    } catch (...) {
      last_error().clear();  // no memory for the text
    }
  } catch (...) {
    last_error().clear();
  }
  return failed;
}

template <class T>
T& needed(T* pointer, std::string_view what) {
  if (pointer == nullptr) fail(what, " is NULL");
  return *pointer;
}
std::string text_of(const char* text, std::string_view what) { return &needed(text, what); }

/// Options of the caller over the defaults of this library: a caller compiled with an older header has fewer fields.
template <class Options>
Options completed(const Options* given, Options defaults, std::string_view what) {
  if (given == nullptr) return defaults;
  if (given->struct_size < sizeof(std::size_t) || given->struct_size > sizeof(Options))
    fail(what, ".struct_size is ", given->struct_size,
         "; begin with its ..._INIT, and use a header that is not newer "
         "than the library");
  std::memcpy(static_cast<void*>(&defaults), given, given->struct_size);
  return defaults;
}

GenerateOptions generate_options(const qwen3vl_generate_options* given) {
  const auto c = completed(given, qwen3vl_generate_options QWEN3VL_GENERATE_OPTIONS_INIT, "options");
  GenerateOptions options;
  if (c.max_new_tokens < 0) fail("options.max_new_tokens is ", c.max_new_tokens);
  if (c.max_new_tokens > 0) options.max_new_tokens = c.max_new_tokens;
  if (c.temperature == 0.0) {
    options.do_sample = false;
  } else if (c.temperature > 0.0) {
    options.temperature = static_cast<float>(c.temperature);
    options.do_sample = true;
  }
  if (c.top_p > 1.0) fail("options.top_p is ", c.top_p, ", wanted 0 to 1, or less for the checkpoint's");
  if (c.top_k >= 0) options.top_k = c.top_k;
  if (c.top_p >= 0.0) options.top_p = static_cast<float>(c.top_p);
  if (c.seed >= 0) options.seed = static_cast<std::uint64_t>(c.seed);
  options.num_return_sequences = 1;  // a conversation goes on with one answer
  options.num_beams = 1;
  return options;
}

}  // namespace

struct qwen3vl_model {
  std::shared_ptr<Loaded> loaded;
};

struct qwen3vl_chat {
  std::shared_ptr<Loaded> loaded;
  Conversation messages;
  std::vector<Image> images;       // of all turns
  std::vector<ContentPart> parts;  // for the next question
  std::size_t waiting = 0;         // images among them
  PromptCache<Model> cache;
  std::atomic<bool> cancelled{false};
  ParsedAnswer answer;
  std::string reasoning;
  std::vector<TokenId> token_ids;
  qwen3vl_finish_reason finish_reason = QWEN3VL_FINISH_NONE;

  void add(Image image) {
    images.push_back(std::move(image));
    parts.push_back(qwen3vl::image());
    ++waiting;
  }

  qwen3vl_status ask(const std::string& question, GenerateOptions options, const qwen3vl_on_text on_text, void* user) {
    cancelled = false;
    answer = {};
    reasoning.clear();
    token_ids.clear();
    finish_reason = QWEN3VL_FINISH_NONE;
    std::vector<ContentPart> content = std::exchange(parts, {});
    const std::size_t count = std::exchange(waiting, 0);
    content.push_back(text(question));
    messages.push_back(qwen3vl::user(std::move(content)));
    try {
      run(std::move(options), on_text, user);
      messages.push_back(answer.message());
    } catch (const Cancelled&) {
      take_back(count);
      finish_reason = QWEN3VL_FINISH_CANCELLED;
      return QWEN3VL_CANCELLED;
    } catch (...) {
      take_back(count);
      throw;
    }
    return finish_reason == QWEN3VL_FINISH_CANCELLED ? QWEN3VL_CANCELLED : QWEN3VL_OK;
  }

 private:
  void take_back(std::size_t count) {
    messages.pop_back();
    images.resize(images.size() - count);
  }

  void run(GenerateOptions options, const qwen3vl_on_text on_text, void* user) {
    Processor& processor = loaded->processor;
    Model& model = loaded->model;
    const auto check = [this] {
      if (cancelled) throw Cancelled();
    };
    const ChatTemplateOptions chat{.add_generation_prompt = true, .sanitize_control_tokens = true};
    ProcessorOptions reading = loaded->reading;
    reading.video_progress = [&](std::int64_t, std::int64_t) { check(); };
    reading.readers = linked_readers();
    const Prompts prompts = processor.prompts(std::span(&messages, 1), chat, reading, images);
    const GenerationConfig config = options.applied_to(model.generation_config());
    if (!config.max_new_tokens && !config.max_length) options.max_new_tokens = default_max_new_tokens;
    options.tokenizer = processor.tokenizer();
    TokenStream stream(processor.tokenizer(), /*skip_special_tokens=*/true);
    const auto give = [&](const std::string& piece) {
      if (on_text != nullptr && !piece.empty() && on_text(user, piece.data(), piece.size()) != 0) cancelled = true;
    };
    options.streamer = [&](index_t, TokenId token) {
      give(stream.push(token));
      return !cancelled;
    };
    options.prefill_progress = [&](index_t, index_t) { check(); };
    GenerateOutput output = model.generate(prompts, options, &cache);
    give(stream.flush());
    token_ids = std::move(output.new_tokens.front());
    switch (output.finish_reasons.front()) {
      case FinishReason::length:
      case FinishReason::time:
        finish_reason = QWEN3VL_FINISH_LENGTH;
        break;
      case FinishReason::cancelled:
        finish_reason = QWEN3VL_FINISH_CANCELLED;
        break;
      default:
        finish_reason = QWEN3VL_FINISH_STOP;
    }
    answer = parse_answer(processor.decode(token_ids, {.skip_special_tokens = true}),
                          {.starts_in_reasoning = opens_reasoning(processor.render_chat_template(messages, chat))});
    reasoning = answer.reasoning.value_or("");
  }
};

extern "C" {

const char* qwen3vl_version() {
  static const std::string text =
      concat("libqwen3vl-" QWEN3VL_VARIANT_NAME " " QWEN3VL_VERSION ": ", Model::PrecisionType::name, " weights, ",
             simd::isa, ", commit ", build_commit());
  return text.c_str();
}
int qwen3vl_c_api_version() { return QWEN3VL_C_API_VERSION; }

const char* qwen3vl_last_error() { return last_error().c_str(); }

qwen3vl_model* qwen3vl_load(const char* folder, const qwen3vl_load_options* options) {
  return guarded<qwen3vl_model*>(nullptr, [&] {
    const std::filesystem::path path = text_of(folder, "folder");
    const auto c = completed(options, qwen3vl_load_options QWEN3VL_LOAD_OPTIONS_INIT, "options");
    PretrainedOptions pretrained;
    if (c.packed_cache != nullptr) pretrained.packed_cache = c.packed_cache;
    if (c.progress != nullptr)
      pretrained.progress = [c](std::size_t done, std::size_t total) { c.progress(c.user, done, total); };
    ProcessorOptions reading;
    if (c.warn != nullptr)
      pretrained.warn = reading.warn = [c](const std::string& text) { c.warn(c.user, text.c_str()); };
    if (c.min_pixels != 0) reading.min_pixels = c.min_pixels;
    if (c.max_pixels != 0) reading.max_pixels = c.max_pixels;
    if (c.max_video_pixels != 0) reading.max_video_pixels = c.max_video_pixels;
    return new qwen3vl_model{std::make_shared<Loaded>(path, c.threads, pretrained, std::move(reading))};
  });
}
void qwen3vl_free(qwen3vl_model* model) { delete model; }

int64_t qwen3vl_image_tokens(const qwen3vl_model* model, int64_t width, int64_t height) {
  return guarded<int64_t>(-1, [&] {
    const Loaded& loaded = *needed(model, "model").loaded;
    const ImageSize size{height, width};
    return loaded.processor.num_multimodal_tokens({&size, 1}, {}, loaded.reading).num_image_tokens.front();
  });
}
int64_t qwen3vl_video_tokens(const qwen3vl_model* model, int64_t frames, int64_t width, int64_t height) {
  return guarded<int64_t>(-1, [&] {
    const Loaded& loaded = *needed(model, "model").loaded;
    const VideoSize size{frames, height, width};
    return loaded.processor.num_multimodal_tokens({}, {&size, 1}, loaded.reading).num_video_tokens.front();
  });
}

qwen3vl_chat* qwen3vl_chat_new(qwen3vl_model* model, const char* system) {
  return guarded<qwen3vl_chat*>(nullptr, [&] {
    auto chat = std::make_unique<qwen3vl_chat>();
    chat->loaded = needed(model, "model").loaded;
    if (system != nullptr) chat->messages.push_back(system_prompt(system));
    return chat.release();
  });
}
void qwen3vl_chat_free(qwen3vl_chat* chat) { delete chat; }

qwen3vl_status qwen3vl_chat_add_image_file(qwen3vl_chat* chat, const char* path) {
  return guarded(QWEN3VL_ERROR, [&] {
    needed(chat, "chat").add(load_image(text_of(path, "path"), {}, linked_readers()));
    return QWEN3VL_OK;
  });
}

qwen3vl_status qwen3vl_chat_add_image_bytes(qwen3vl_chat* chat, const void* bytes, size_t length) {
  return guarded(QWEN3VL_ERROR, [&] {
    const auto* const from = &needed(static_cast<const std::byte*>(bytes), "bytes");
    needed(chat, "chat")
        .add(decode_image({from, length}, concat("the image of ", length, " bytes"), {}, linked_readers()));
    return QWEN3VL_OK;
  });
}

qwen3vl_status qwen3vl_chat_add_image_rgb(qwen3vl_chat* chat, const uint8_t* pixels, int width, int height) {
  return guarded(QWEN3VL_ERROR, [&] {
    const uint8_t* const from = &needed(pixels, "pixels");
    constexpr auto most = static_cast<std::int64_t>(ImageLimits{}.max_pixels);
    if (width < 1 || height < 1 || std::int64_t{width} * height > most)
      fail("an image of ", width, " x ", height, " pixels; wanted at least 1 x 1 and at most ", most, " in all");
    needed(chat, "chat")
        .add({.height = height,
              .width = width,
              .channels = 3,
              .pixels = std::vector<std::uint8_t>(
                  from, from + std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height))});
    return QWEN3VL_OK;
  });
}

qwen3vl_status qwen3vl_chat_add_video_file(qwen3vl_chat* chat, const char* path) {
  return guarded(QWEN3VL_ERROR, [&] {
    const std::string file = std::filesystem::absolute(text_of(path, "path")).string();
    open_video(file, {.readers = linked_readers()});  // what is no video is said now
    needed(chat, "chat").parts.push_back(video(file));
    return QWEN3VL_OK;
  });
}

qwen3vl_status qwen3vl_chat_ask(qwen3vl_chat* chat, const char* question, const qwen3vl_generate_options* options,
                                qwen3vl_on_text on_text, void* user) {
  return guarded(QWEN3VL_ERROR, [&] {
    return needed(chat, "chat").ask(text_of(question, "question"), generate_options(options), on_text, user);
  });
}
void qwen3vl_chat_cancel(qwen3vl_chat* chat) {
  if (chat != nullptr) chat->cancelled = true;
}

const char* qwen3vl_chat_answer(const qwen3vl_chat* chat) { return chat == nullptr ? "" : chat->answer.text.c_str(); }
const char* qwen3vl_chat_reasoning(const qwen3vl_chat* chat) { return chat == nullptr ? "" : chat->reasoning.c_str(); }
const int32_t* qwen3vl_chat_token_ids(const qwen3vl_chat* chat, size_t* count) {
  if (count != nullptr) *count = chat == nullptr ? 0 : chat->token_ids.size();
  return chat == nullptr ? nullptr : chat->token_ids.data();
}
qwen3vl_finish_reason qwen3vl_chat_finish_reason(const qwen3vl_chat* chat) {
  return chat == nullptr ? QWEN3VL_FINISH_NONE : chat->finish_reason;
}

}  // extern "C"
