/**
 * C interface to Qwen3-VL chats, for C and for languages that can call C: load a checkpoint, ask about images, receive
 * the answer piece by piece.
 *
 * The functions are in a shared library for each variant of the model and each precision, libqwen3vl-<variant>.so
 * (CMake: -DQWEN3VL_C_API=ON). All of them have the same functions; link one of them, or open it with dlopen().
 *
 * Errors. Functions that can fail return NULL or QWEN3VL_ERROR, and qwen3vl_last_error() says why, in one line. No C++
 * exception leaves the library. A disallowed NULL argument is an error, not a crash; freeing NULL does nothing.
 *
 * Threads. A model and its chats may be used by one thread at a time, not necessarily always the same one. Two models
 * are independent of each other. qwen3vl_chat_cancel() may be called from any thread while the chat exists.
 * qwen3vl_last_error() refers to calls made by the calling thread.
 *
 * Text is UTF-8, terminated by a zero byte unless a length is given. The library installs no signal handlers: a
 * checkpoint file that is truncated while it loads ends the program with SIGBUS.
 */
#ifndef QWEN3VL_C_QWEN3VL_H
#define QWEN3VL_C_QWEN3VL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QWEN3VL_EXPORT __attribute__((visibility("default")))
#else
#define QWEN3VL_EXPORT
#endif

/** Incremented by incompatible changes, not by additions. */
#define QWEN3VL_C_API_VERSION 1

/** A loaded checkpoint. */
typedef struct qwen3vl_model qwen3vl_model;
/** A conversation with its images and its computed state. */
typedef struct qwen3vl_chat qwen3vl_chat;

typedef enum qwen3vl_status {
  QWEN3VL_OK = 0,
  QWEN3VL_ERROR = 1,
  QWEN3VL_CANCELLED = 2 /**< by qwen3vl_chat_cancel() or the callback; the answer is what was written so far */
} qwen3vl_status;

/** Why an answer ended. */
typedef enum qwen3vl_finish_reason {
  QWEN3VL_FINISH_NONE = 0, /**< no answer yet */
  QWEN3VL_FINISH_STOP = 1, /**< the model ended it */
  QWEN3VL_FINISH_LENGTH = 2,
  QWEN3VL_FINISH_CANCELLED = 3
} qwen3vl_finish_reason;

/** Initialise with QWEN3VL_LOAD_OPTIONS_INIT, so that fields added later have their defaults. */
typedef struct qwen3vl_load_options {
  size_t struct_size;
  int threads;              /**< 0: all processors */
  const char* packed_cache; /**< folder for packed weights, which speed up later loads; NULL: none */
  /** Called with the bytes loaded so far and in total; may be NULL. */
  void (*progress)(void* user, uint64_t done, uint64_t total);
  void* user;
  /** The pixel budget: fewest and most of an image, most of all frames of a video together; 0: the checkpoint's. */
  int64_t min_pixels, max_pixels, max_video_pixels;
  /** Called with what is not wrong, but may not be meant, in one line; NULL: written to standard error. */
  void (*warn)(void* user, const char* text);
  const char* mmproj; /**< file of a GGUF model's vision tower; NULL: the mmproj-*.gguf beside the model */
  /** LoRA adapters, merged in this order: folders of PEFT, "DIR" or "DIR=SCALE"; ends with NULL. NULL: none. */
  const char* const* adapters;
} qwen3vl_load_options;
#define QWEN3VL_LOAD_OPTIONS_INIT \
  { sizeof(qwen3vl_load_options), 0, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL }

/** Initialise with QWEN3VL_GENERATE_OPTIONS_INIT: the checkpoint's generation_config.json unchanged. */
typedef struct qwen3vl_generate_options {
  size_t struct_size;
  int64_t max_new_tokens; /**< 0: the checkpoint's, else 1024 */
  double temperature;     /**< 0: greedy; negative: the checkpoint's */
  int64_t top_k;          /**< 0: all; negative: the checkpoint's */
  double top_p;           /**< negative: the checkpoint's */
  int64_t seed;           /**< makes sampling repeatable; negative: a different one each time */
} qwen3vl_generate_options;
#define QWEN3VL_GENERATE_OPTIONS_INIT \
  { sizeof(qwen3vl_generate_options), 0, -1.0, -1, -1.0, -1 }

/** Receives a piece of the answer as it is generated: whole characters, `length` bytes, not zero-terminated. A non-zero
 *  result stops the answer. Must not call this library with the same model. */
typedef int (*qwen3vl_on_text)(void* user, const char* text, size_t length);

/** Variant, version, precision, instruction set and commit, in one line. Never NULL. */
QWEN3VL_EXPORT const char* qwen3vl_version(void);
/** QWEN3VL_C_API_VERSION of the library, for comparison with that of the header. */
QWEN3VL_EXPORT int qwen3vl_c_api_version(void);

/** Error message of the calling thread's last failing call; empty if none failed. Valid until its next failing call. */
QWEN3VL_EXPORT const char* qwen3vl_last_error(void);

/** Loads a checkpoint: a folder in the layout of the Hub, its name in the Hub's cache, or a GGUF file. `options` may be NULL. NULL: see qwen3vl_last_error(). */
QWEN3VL_EXPORT qwen3vl_model* qwen3vl_load(const char* folder, const qwen3vl_load_options* options);
/** Frees the model; its memory is released with its last chat. */
QWEN3VL_EXPORT void qwen3vl_free(qwen3vl_model* model);

/** Tokens that an image, or a video of which so many frames are taken, becomes in a prompt; the times of a video are
 * not counted. Nothing is computed. -1: see qwen3vl_last_error(). */
QWEN3VL_EXPORT int64_t qwen3vl_image_tokens(const qwen3vl_model* model, int64_t width, int64_t height);
QWEN3VL_EXPORT int64_t qwen3vl_video_tokens(const qwen3vl_model* model, int64_t frames, int64_t width, int64_t height);

/** A new conversation. `system` is a system message, or NULL. NULL: see qwen3vl_last_error(). */
QWEN3VL_EXPORT qwen3vl_chat* qwen3vl_chat_new(qwen3vl_model* model, const char* system);
QWEN3VL_EXPORT void qwen3vl_chat_free(qwen3vl_chat* chat);

/** Adds an image to the next question: a file (PNG, JPEG, GIF, BMP; WebP if the library was built with libwebp), the
 *  `length` bytes of such a file in memory, or pixels of `height` rows of `width` RGB bytes. All are copied. */
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_add_image_file(qwen3vl_chat* chat, const char* path);
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_add_image_bytes(qwen3vl_chat* chat, const void* bytes, size_t length);
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_add_image_rgb(qwen3vl_chat* chat, const uint8_t* pixels, int width,
                                                         int height);
/** Adds a video to the next question: a GIF, a folder of numbered images, or a video file if the library was built with
 *  FFmpeg. */
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_add_video_file(qwen3vl_chat* chat, const char* path);

/** Asks `question` about the images and videos added since the last one, in the conversation so far. `options`
 *  and `on_text` may be NULL. If the call fails, or is cancelled before there is an answer, it removes the question and
 *  its images and videos. */
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_ask(qwen3vl_chat* chat, const char* question,
                                               const qwen3vl_generate_options* options, qwen3vl_on_text on_text,
                                               void* user);
/** Answers `request`, JSON as `--messages` of the program reads it (docs/binary.md): a list of messages, or an object
 * with `messages`, `tools`, every option of generation by its name in transformers or OpenAI's, `stop`,
 *  `chat_template_kwargs`, and so on. Images and videos are named by paths, which are relative to `folder` (NULL: the
 *  current one), or given as data URLs or base64. The messages take the place of the conversation so far, and
 *  qwen3vl_chat_ask() goes on from there with the same tools. What means nothing here is an error that names it. If the
 *  call fails, the chat is as it was. */
QWEN3VL_EXPORT qwen3vl_status qwen3vl_chat_ask_json(qwen3vl_chat* chat, const char* request, const char* folder,
                                                    qwen3vl_on_text on_text, void* user);
/** Stops qwen3vl_chat_ask() of this chat soon, if one is running. */
QWEN3VL_EXPORT void qwen3vl_chat_cancel(qwen3vl_chat* chat);

/** The last answer, without reasoning; empty before the first. Valid until the next qwen3vl_chat_ask(). */
QWEN3VL_EXPORT const char* qwen3vl_chat_answer(const qwen3vl_chat* chat);
/** Its reasoning, if the checkpoint is a Thinking one; else empty. */
QWEN3VL_EXPORT const char* qwen3vl_chat_reasoning(const qwen3vl_chat* chat);
/** The answer as a JSON object: `text`, `reasoning`, `tool_calls` (a list of `name` and `arguments`),
 * `tool_call_errors`, `token_ids`, `prompt_tokens`, `finish_reason`; what there is not is left out. Valid as long as
 * the answer. */
QWEN3VL_EXPORT const char* qwen3vl_chat_answer_json(const qwen3vl_chat* chat);
/** Its token ids as generated; their number is stored in `count`. Valid as long as the answer. */
QWEN3VL_EXPORT const int32_t* qwen3vl_chat_token_ids(const qwen3vl_chat* chat, size_t* count);
QWEN3VL_EXPORT qwen3vl_finish_reason qwen3vl_chat_finish_reason(const qwen3vl_chat* chat);

#ifdef __cplusplus
}
#endif

#endif
