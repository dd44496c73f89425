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
#include <tuple>
#include <utility>
#include <vector>

#include "program/commit.hpp"
#include "program/input/preparation.hpp"
#include "program/input/settings.hpp"
#include "program/model.hpp"
#include "qwen3vl/c/qwen3vl.h"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/loading/adapters/adapter_argument.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"

namespace {

using namespace qwen3vl;

/// An answer without a limit in the checkpoint's generation_config.json ends here, as in the program.
constexpr index_t default_max_new_tokens = 1024;

struct Loaded {
  Loaded(const std::filesystem::path& folder, int threads, const PretrainedOptions& options, ProcessorOptions how)
      : reading(std::move(how)),
        prepare(CheckpointFiles(folder, options.mmproj), reading.warn),
        model(program::load_model(folder, {.threads = threads}, options)) {
    prepare.check(reading);  // a wrong budget is an error now
  }

  ProcessorOptions reading;  ///< the caller's of it
  program::Preparation prepare;
  std::unique_ptr<program::AnyModel> model;
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
  std::unique_ptr<program::AnyModel::Cache> cache;
  std::atomic<bool> cancelled{false};
  program::Settings settings;
  std::filesystem::path folder;  // of media that messages name
  ParsedAnswer answer;
  std::string reasoning, json;
  index_t prompt_tokens = 0;
  std::vector<TokenId> token_ids;
  qwen3vl_finish_reason finish_reason = QWEN3VL_FINISH_NONE;

  void add(Image image) {
    images.push_back(std::move(image));
    parts.push_back(qwen3vl::image());
    ++waiting;
  }

  qwen3vl_status ask(const std::string& question, GenerateOptions options, const qwen3vl_on_text on_text, void* user) {
    begin();
    std::vector<ContentPart> content = std::exchange(parts, {});
    const std::size_t count = std::exchange(waiting, 0);
    content.push_back(text(question));
    messages.push_back(qwen3vl::user(std::move(content)));
    program::Settings now = settings;
    now.generate = std::move(options);
    return run(now, on_text, user, [&] {
      messages.pop_back();
      images.resize(images.size() - count);
    });
  }

  qwen3vl_status ask_json(const std::string& text, const std::filesystem::path& media, const qwen3vl_on_text on_text,
                          void* user) {
    begin();
    ChatRequest request = request_from_json(text, {.generation_fields = program::generation_names()});
    Conversation asked = messages_from_json(request.messages);
    program::refuse_placeholders(asked);
    program::Settings now{.generate = generate_options(nullptr)};
    program::apply(std::move(request), now);
    if (*now.generate.num_return_sequences != 1) fail("num_return_sequences (n): a chat goes on with one answer");
    // A chat that fails is as it was.
    auto before = std::tuple(std::exchange(messages, std::move(asked)), std::exchange(images, {}),
                             std::exchange(parts, {}), std::exchange(waiting, 0), std::exchange(folder, media));
    const qwen3vl_status status =
        run(now, on_text, user, [&] { std::tie(messages, images, parts, waiting, folder) = std::move(before); });
    if (finish_reason != QWEN3VL_FINISH_NONE && !messages.empty() && messages.back().role == "assistant") {
      settings = now;
      settings.chat.add_generation_prompt = true;  // for the next question
      settings.chat.continue_final_message = false;
    }
    return status;
  }

 private:
  void begin() {
    cancelled = false;
    answer = {};
    reasoning.clear();
    json.clear();
    token_ids.clear();
    finish_reason = QWEN3VL_FINISH_NONE;
  }

  /// Answers the messages and adds the answer to them; `take_back` undoes what was asked.
  template <class TakeBack>
  qwen3vl_status run(const program::Settings& now, const qwen3vl_on_text on_text, void* user,
                     const TakeBack& take_back) {
    try {
      generate(now, on_text, user);
      messages.push_back(answer.message());
    } catch (const Cancelled&) {
      take_back();
      finish_reason = QWEN3VL_FINISH_CANCELLED;
      return QWEN3VL_CANCELLED;
    } catch (...) {
      take_back();
      throw;
    }
    return finish_reason == QWEN3VL_FINISH_CANCELLED ? QWEN3VL_CANCELLED : QWEN3VL_OK;
  }

  void generate(const program::Settings& now, const qwen3vl_on_text on_text, void* user) {
    GenerateOptions options = now.generate;
    const program::Preparation& prepare = loaded->prepare;
    program::AnyModel& model = *loaded->model;
    const auto check = [this] {
      if (cancelled) throw Cancelled();
    };
    ProcessorOptions reading = loaded->reading;
    reading.media_directory = folder;
    reading.video_progress = [&](std::int64_t, std::int64_t) { check(); };
    reading.readers = linked_readers();
    const program::Prepared prepared = prepare(std::span(&messages, 1), now.chat, reading, images);
    prompt_tokens = prepared.prompts.tokens();
    const GenerationConfig config = options.applied_to(model.generation_config());
    if (!config.max_new_tokens && !config.max_length) options.max_new_tokens = default_max_new_tokens;
    options.tokenizer = prepare.tokenizer();
    options.output_attentions = options.output_hidden_states = false;  // nothing gives them back
    TokenStream stream(prepare.tokenizer(), /*skip_special_tokens=*/true);
    const auto give = [&](const std::string& piece) {
      if (on_text != nullptr && !piece.empty() && on_text(user, piece.data(), piece.size()) != 0) cancelled = true;
    };
    if (!now.stop.empty()) options.stopping_criteria.emplace_back(StopStrings(prepare.tokenizer(), now.stop));
    const bool streamed = config.num_beams == 1;
    if (streamed) {
      options.streamer = [&](index_t, TokenId token) {
        give(stream.push(token));
        return !cancelled;
      };
    } else {
      options.stopping_criteria.emplace_back([&](index_t, auto) { return cancelled.load(); });
    }
    options.prefill_progress = [&](index_t, index_t) { check(); };
    GenerateOutput output = model.generate(prepared.prompts, options, cache.get());
    token_ids = std::move(output.new_tokens.front());
    if (!streamed)
      for (const TokenId token : token_ids) give(stream.push(token));
    give(stream.flush());
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
    answer = parse_answer(prepare.decode(token_ids), {.starts_in_reasoning = opens_reasoning(prepared.texts.front())});
    reasoning = answer.reasoning.value_or("");
    json = answer_json(name_of(cancelled ? FinishReason::cancelled : output.finish_reasons.front()));
  }

  std::string answer_json(const char* reason) const {
    nlohmann::ordered_json object;
    object["text"] = answer.text;
    if (answer.reasoning) object["reasoning"] = *answer.reasoning;
    if (!answer.tool_calls.empty()) object["tool_calls"] = tool_calls_to_json(answer.tool_calls);
    if (!answer.errors.empty()) object["tool_call_errors"] = answer.errors;
    object["token_ids"] = token_ids;
    object["prompt_tokens"] = prompt_tokens;
    object["finish_reason"] = reason;
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
};

extern "C" {

const char* qwen3vl_version() {
  static const std::string text = [] {
    const program::Build build = program::build();
    return concat("libqwen3vl-", build.variant, " " QWEN3VL_VERSION ": ", build.precision, " weights, ", build.backend,
                  ", commit ", build_commit());
  }();
  return text.c_str();
}
int qwen3vl_c_api_version() { return QWEN3VL_C_API_VERSION; }

const char* qwen3vl_last_error() { return last_error().c_str(); }

qwen3vl_model* qwen3vl_load(const char* folder, const qwen3vl_load_options* options) {
  return guarded<qwen3vl_model*>(nullptr, [&] {
    const std::filesystem::path path = text_of(folder, "folder");
    const auto c = completed(options, qwen3vl_load_options QWEN3VL_LOAD_OPTIONS_INIT, "options");
    PretrainedOptions pretrained;
    for (const char* const* adapter = c.adapters; adapter != nullptr && *adapter != nullptr; ++adapter)
      pretrained.adapters.push_back(adapter_of(*adapter));
    if (c.packed_cache != nullptr) pretrained.packed_cache = c.packed_cache;
    if (c.mmproj != nullptr) pretrained.mmproj = c.mmproj;
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
    return loaded.prepare.image_tokens(height, width, loaded.reading);
  });
}
int64_t qwen3vl_video_tokens(const qwen3vl_model* model, int64_t frames, int64_t width, int64_t height) {
  return guarded<int64_t>(-1, [&] {
    const Loaded& loaded = *needed(model, "model").loaded;
    return loaded.prepare.video_tokens(frames, height, width, loaded.reading);
  });
}

qwen3vl_chat* qwen3vl_chat_new(qwen3vl_model* model, const char* system) {
  return guarded<qwen3vl_chat*>(nullptr, [&] {
    auto chat = std::make_unique<qwen3vl_chat>();
    chat->loaded = needed(model, "model").loaded;
    chat->cache = chat->loaded->model->new_cache();
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
qwen3vl_status qwen3vl_chat_ask_json(qwen3vl_chat* chat, const char* request, const char* folder,
                                     qwen3vl_on_text on_text, void* user) {
  return guarded(QWEN3VL_ERROR, [&] {
    return needed(chat, "chat").ask_json(text_of(request, "request"), folder == nullptr ? "" : folder, on_text, user);
  });
}
void qwen3vl_chat_cancel(qwen3vl_chat* chat) {
  if (chat != nullptr) chat->cancelled = true;
}

const char* qwen3vl_chat_answer(const qwen3vl_chat* chat) { return chat == nullptr ? "" : chat->answer.text.c_str(); }
const char* qwen3vl_chat_reasoning(const qwen3vl_chat* chat) { return chat == nullptr ? "" : chat->reasoning.c_str(); }
const char* qwen3vl_chat_answer_json(const qwen3vl_chat* chat) {
  return chat == nullptr || chat->json.empty() ? "{}" : chat->json.c_str();
}
const int32_t* qwen3vl_chat_token_ids(const qwen3vl_chat* chat, size_t* count) {
  if (count != nullptr) *count = chat == nullptr ? 0 : chat->token_ids.size();
  return chat == nullptr ? nullptr : chat->token_ids.data();
}
qwen3vl_finish_reason qwen3vl_chat_finish_reason(const qwen3vl_chat* chat) {
  return chat == nullptr ? QWEN3VL_FINISH_NONE : chat->finish_reason;
}

}  // extern "C"
