/* The C API from C: known answers, streaming, cancelling, two models in two threads, and everything that can be wrong.
 * usage: c_api_test MODEL_FOLDER IMAGE */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qwen3vl/c/qwen3vl.h"

static int failures = 0;
#define CHECK(condition)                                                                             \
  do {                                                                                               \
    if (!(condition)) {                                                                              \
      ++failures;                                                                                    \
      fprintf(stderr, "line %d: %s; last error: %s\n", __LINE__, #condition, qwen3vl_last_error()); \
    }                                                                                                \
  } while (0)
#define CHECK_ERROR(call, text) \
  do {                          \
    CHECK(call);                \
    CHECK(strstr(qwen3vl_last_error(), text) != NULL); \
  } while (0)

static const char* const star = "A large green star on the right and a small purple heart at the bottom.";

struct heard {
  char text[4096];
  size_t length;
  int pieces;
  int stop_after; /* pieces; 0: never */
};
static int hear(void* user, const char* text, size_t length) {
  struct heard* heard = user;
  if (heard->length + length < sizeof heard->text) {
    memcpy(heard->text + heard->length, text, length);
    heard->length += length;
    heard->text[heard->length] = 0;
  }
  ++heard->pieces;
  return heard->stop_after > 0 && heard->pieces >= heard->stop_after;
}

struct progress {
  uint64_t last, total;
  int calls;
};
static void note_progress(void* user, uint64_t done, uint64_t total) {
  struct progress* progress = user;
  progress->last = done;
  progress->total = total;
  ++progress->calls;
}

static qwen3vl_generate_options greedy(void) {
  qwen3vl_generate_options options = QWEN3VL_GENERATE_OPTIONS_INIT;
  options.temperature = 0;
  return options;
}

static void answers(qwen3vl_model* model, const char* image) {
  const qwen3vl_generate_options options = greedy();
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  CHECK(chat != NULL);
  CHECK(strcmp(qwen3vl_chat_answer(chat), "") == 0);
  CHECK(qwen3vl_chat_finish_reason(chat) == QWEN3VL_FINISH_NONE);
  CHECK(qwen3vl_chat_add_image_file(chat, image) == QWEN3VL_OK);
  struct heard heard = {"", 0, 0, 0};
  CHECK(qwen3vl_chat_ask(chat, "Describe this image.", &options, hear, &heard) == QWEN3VL_OK);
  CHECK(strcmp(qwen3vl_chat_answer(chat), star) == 0);
  CHECK(strcmp(heard.text, star) == 0);
  CHECK(heard.pieces > 5);
  CHECK(qwen3vl_chat_finish_reason(chat) == QWEN3VL_FINISH_STOP);
  CHECK(strcmp(qwen3vl_chat_reasoning(chat), "") == 0);
  size_t count = 0;
  CHECK(qwen3vl_chat_token_ids(chat, &count) != NULL);
  CHECK(count > 5);
  /* The conversation goes on. */
  CHECK(qwen3vl_chat_ask(chat, "How many shapes are there?", &options, NULL, NULL) == QWEN3VL_OK);
  CHECK(strcmp(qwen3vl_chat_answer(chat), "There are two shapes.") == 0);
  qwen3vl_chat_free(chat);
}

/* The bytes of a file are as good as the file. */
static void image_in_memory(qwen3vl_model* model, const char* image) {
  FILE* file = fopen(image, "rb");
  CHECK(file != NULL);
  static unsigned char bytes[1 << 20];
  const size_t length = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  const qwen3vl_generate_options options = greedy();
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  CHECK(qwen3vl_chat_add_image_bytes(chat, bytes, length) == QWEN3VL_OK);
  memset(bytes, 0, length); /* copied */
  CHECK(qwen3vl_chat_ask(chat, "Describe this image.", &options, NULL, NULL) == QWEN3VL_OK);
  CHECK(strcmp(qwen3vl_chat_answer(chat), star) == 0);
  CHECK_ERROR(qwen3vl_chat_add_image_bytes(chat, NULL, 1) == QWEN3VL_ERROR, "bytes is NULL");
  CHECK_ERROR(qwen3vl_chat_add_image_bytes(chat, "GIF89a", 6) == QWEN3VL_ERROR, "the image of 6 bytes is damaged");
  CHECK_ERROR(qwen3vl_chat_add_image_bytes(chat, "", 0) == QWEN3VL_ERROR, "is empty");
  qwen3vl_chat_free(chat);
}

/* Requests as JSON: a conversation of its own, with its settings; what follows goes on from there. */
static void requests(qwen3vl_model* model, const char* image) {
  const char* const slash = strrchr(image, '/');
  char folder[4096], request[8192];
  snprintf(folder, sizeof folder, "%.*s", (int)(slash - image), image);
  snprintf(request, sizeof request,
           "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"image\": \"%s\"}, "
           "{\"type\": \"text\", \"text\": \"Describe this image.\"}]}], \"temperature\": 0}",
           slash + 1);
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  struct heard heard = {.length = 0};
  CHECK(qwen3vl_chat_ask_json(chat, request, folder, hear, &heard) == QWEN3VL_OK);
  CHECK(strcmp(qwen3vl_chat_answer(chat), star) == 0);
  CHECK(strcmp(heard.text, star) == 0);
  CHECK(strstr(qwen3vl_chat_answer_json(chat), "\"finish_reason\":\"stop\"") != NULL);
  CHECK(strstr(qwen3vl_chat_answer_json(chat), star) != NULL);
  /* The conversation goes on, and what fails leaves it as it was. */
  CHECK_ERROR(qwen3vl_chat_ask_json(chat, "{\"messages\": [], \"n\": 2, \"temperature\": 1}", NULL, NULL, NULL) ==
                  QWEN3VL_ERROR,
              "a chat goes on with one answer");
  CHECK_ERROR(qwen3vl_chat_ask_json(chat, "{\"messages\": [], \"foo\": 2}", NULL, NULL, NULL) == QWEN3VL_ERROR,
              "means nothing here: foo");
  CHECK_ERROR(qwen3vl_chat_ask_json(chat, request, "/nowhere", NULL, NULL) == QWEN3VL_ERROR, "/nowhere");
  CHECK(strcmp(qwen3vl_chat_answer_json(chat), "{}") == 0);
  const qwen3vl_generate_options options = greedy();
  CHECK(qwen3vl_chat_ask(chat, "How many shapes are there?", &options, NULL, NULL) == QWEN3VL_OK);
  CHECK(strstr(qwen3vl_chat_answer(chat), "two") != NULL);
  /* Beams are given whole; a limit; a text that ends the answer; variables of the template. */
  heard.length = 0;
  CHECK(qwen3vl_chat_ask_json(chat, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}], \"num_beams\": 2, "
                              "\"max_tokens\": 2}", NULL, hear, &heard) == QWEN3VL_OK);
  CHECK(heard.length > 0 && qwen3vl_chat_finish_reason(chat) == QWEN3VL_FINISH_LENGTH);
  CHECK(qwen3vl_chat_ask_json(chat, "{\"messages\": [{\"role\": \"user\", \"content\": \"What can you do?\"}], "
                              "\"chat_template_kwargs\": {\"enable_thinking\": true}}", NULL, NULL, NULL) == QWEN3VL_OK);
  CHECK(strstr(qwen3vl_chat_answer_json(chat), "\"reasoning\":") != NULL);
  CHECK_ERROR(qwen3vl_chat_ask_json(chat, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"tools\": "
                                    "[{\"name\": \"zoom\"}]}", NULL, NULL, NULL) == QWEN3VL_ERROR, "tools[0] is not in the prompt");
  CHECK_ERROR(qwen3vl_chat_ask_json(chat, NULL, NULL, NULL, NULL) == QWEN3VL_ERROR, "request is NULL");
  CHECK_ERROR(qwen3vl_chat_ask_json(NULL, "[]", NULL, NULL, NULL) == QWEN3VL_ERROR, "chat is NULL");
  qwen3vl_chat_free(chat);
}

static void pixels_and_limits(qwen3vl_model* model) {
  qwen3vl_generate_options options = greedy();
  options.max_new_tokens = 3;
  uint8_t* pixels = malloc(3 * 64 * 48);
  memset(pixels, 200, 3 * 64 * 48);
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  CHECK(qwen3vl_chat_add_image_rgb(chat, pixels, 64, 48) == QWEN3VL_OK);
  free(pixels); /* copied */
  CHECK(qwen3vl_chat_ask(chat, "Describe this image.", &options, NULL, NULL) == QWEN3VL_OK);
  size_t count = 0;
  qwen3vl_chat_token_ids(chat, &count);
  CHECK(count == 3);
  CHECK(qwen3vl_chat_finish_reason(chat) == QWEN3VL_FINISH_LENGTH);
  qwen3vl_chat_free(chat);
}

static void count_warning(void* user, const char* text) {
  ++*(int*)user;
  CHECK(strstr(text, "max_pixels is 5000, below min_pixels, 9216") != NULL);
}

static void pixel_budget(const qwen3vl_model* model, const char* folder) {
  CHECK(qwen3vl_image_tokens(model, 300, 200) == 24);
  CHECK(qwen3vl_video_tokens(model, 4, 200, 300) == 48);
  CHECK_ERROR(qwen3vl_image_tokens(model, 201, 1) == -1, "aspect ratio");
  CHECK_ERROR(qwen3vl_image_tokens(model, 0, 1) == -1, "1 x 0 pixels");
  CHECK_ERROR(qwen3vl_video_tokens(model, 1, 200, 300) == -1, "temporal_factor");
  CHECK_ERROR(qwen3vl_image_tokens(NULL, 1, 1) == -1, "model is NULL");
  qwen3vl_load_options load = QWEN3VL_LOAD_OPTIONS_INIT;
  load.max_pixels = 100000;
  load.max_video_pixels = 1000000;
  qwen3vl_model* other = qwen3vl_load(folder, &load);
  CHECK(qwen3vl_image_tokens(other, 300, 200) == 54);
  CHECK(qwen3vl_video_tokens(other, 4, 200, 300) == 108);
  qwen3vl_free(other);
  int warnings = 0;
  load.max_pixels = 5000;
  load.warn = count_warning;
  load.user = &warnings;
  other = qwen3vl_load(folder, &load);
  CHECK(other != NULL);
  CHECK(warnings == 1);
  qwen3vl_free(other);
  load.max_pixels = -1;
  CHECK_ERROR(qwen3vl_load(folder, &load) == NULL, "max_pixels is -1; it must be from 1 to 2147483648");
  load.max_pixels = 0;
  const char* const adapters[] = {"/nonexistent/lora=0.5", NULL};
  load.adapters = adapters;
  CHECK_ERROR(qwen3vl_load(folder, &load) == NULL, "there is no adapter /nonexistent/lora;");
}

static void errors(qwen3vl_model* model, const char* image) {
  CHECK_ERROR(qwen3vl_load(NULL, NULL) == NULL, "folder is NULL");
  CHECK_ERROR(qwen3vl_load("/nonexistent", NULL) == NULL, "/nonexistent");
  qwen3vl_load_options load = QWEN3VL_LOAD_OPTIONS_INIT;
  load.struct_size = 100000;
  CHECK_ERROR(qwen3vl_load("/nonexistent", &load) == NULL, "struct_size is 100000");
  CHECK_ERROR(qwen3vl_chat_new(NULL, NULL) == NULL, "model is NULL");
  CHECK_ERROR(qwen3vl_chat_add_image_file(NULL, image) == QWEN3VL_ERROR, "chat is NULL");
  CHECK_ERROR(qwen3vl_chat_ask(NULL, "x", NULL, NULL, NULL) == QWEN3VL_ERROR, "chat is NULL");
  qwen3vl_chat* chat = qwen3vl_chat_new(model, "You answer briefly.");
  CHECK_ERROR(qwen3vl_chat_add_image_file(chat, NULL) == QWEN3VL_ERROR, "path is NULL");
  CHECK_ERROR(qwen3vl_chat_add_image_file(chat, "/nonexistent.png") == QWEN3VL_ERROR, "/nonexistent.png");
  CHECK_ERROR(qwen3vl_chat_add_video_file(chat, image) == QWEN3VL_ERROR, "png");
  CHECK_ERROR(qwen3vl_chat_add_image_rgb(chat, NULL, 1, 1) == QWEN3VL_ERROR, "pixels is NULL");
  const uint8_t pixel[3] = {0, 0, 0};
  CHECK_ERROR(qwen3vl_chat_add_image_rgb(chat, pixel, 0, 1) == QWEN3VL_ERROR, "0 x 1 pixels");
  CHECK_ERROR(qwen3vl_chat_add_image_rgb(chat, pixel, 1 << 30, 1 << 30) == QWEN3VL_ERROR, "pixels");
  CHECK_ERROR(qwen3vl_chat_ask(chat, NULL, NULL, NULL, NULL) == QWEN3VL_ERROR, "question is NULL");
  qwen3vl_generate_options options = greedy();
  options.max_new_tokens = -1;
  CHECK_ERROR(qwen3vl_chat_ask(chat, "x", &options, NULL, NULL) == QWEN3VL_ERROR, "max_new_tokens is -1");
  options = greedy();
  options.top_p = 7;
  CHECK_ERROR(qwen3vl_chat_ask(chat, "x", &options, NULL, NULL) == QWEN3VL_ERROR, "top_p");
  /* A question that fails is taken back, and the chat goes on: an image of an impossible shape, then a good one. */
  options = greedy();
  uint8_t* line = calloc(3, 300);
  CHECK(qwen3vl_chat_add_image_rgb(chat, line, 300, 1) == QWEN3VL_OK);
  free(line);
  CHECK_ERROR(qwen3vl_chat_ask(chat, "x", &options, NULL, NULL) == QWEN3VL_ERROR, "aspect ratio");
  CHECK(strcmp(qwen3vl_chat_answer(chat), "") == 0);
  qwen3vl_chat_free(chat);
  answers(model, image);
  image_in_memory(model, image);
  /* Nothing happens. */
  qwen3vl_chat_free(NULL);
  qwen3vl_free(NULL);
  qwen3vl_chat_cancel(NULL);
  size_t count = 1;
  CHECK(qwen3vl_chat_token_ids(NULL, &count) == NULL && count == 0);
  CHECK(strcmp(qwen3vl_chat_answer(NULL), "") == 0);
  CHECK(strcmp(qwen3vl_chat_answer_json(NULL), "{}") == 0);
}

static int cancel_other(void* user, const char* text, size_t length) {
  (void)text;
  (void)length;
  qwen3vl_chat_cancel(user);
  return 0;
}

/* Cancels from another thread, again and again, for one that comes before the call has begun does nothing. */
struct canceller {
  qwen3vl_chat* chat;
  volatile int* done;
};
static void* cancel_until_done(void* argument) {
  const struct canceller* canceller = argument;
  const struct timespec moment = {0, 20000000};
  while (!*canceller->done) {
    nanosleep(&moment, NULL);
    qwen3vl_chat_cancel(canceller->chat);
  }
  return NULL;
}

static void cancelling(qwen3vl_model* model, const char* image) {
  const qwen3vl_generate_options options = greedy();
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  CHECK(qwen3vl_chat_add_image_file(chat, image) == QWEN3VL_OK);
  struct heard heard = {"", 0, 0, 3};
  CHECK(qwen3vl_chat_ask(chat, "Describe this image.", &options, hear, &heard) == QWEN3VL_CANCELLED);
  CHECK(heard.pieces == 3);
  CHECK(strcmp(heard.text, qwen3vl_chat_answer(chat)) == 0);
  CHECK(strncmp(star, heard.text, heard.length) == 0 && heard.length > 0);
  CHECK(qwen3vl_chat_finish_reason(chat) == QWEN3VL_FINISH_CANCELLED);
  CHECK(qwen3vl_chat_ask(chat, "How many shapes are there?", &options, cancel_other, chat) == QWEN3VL_CANCELLED);
  CHECK(qwen3vl_chat_ask(chat, "How many shapes are there?", &options, NULL, NULL) == QWEN3VL_OK);
  /* A prompt that takes a while to read. */
  char* prompt = malloc(200001);
  for (int i = 0; i < 200000; ++i) prompt[i] = "Describe this image. "[i % 21];
  prompt[200000] = 0;
  volatile int done = 0;
  struct canceller canceller = {chat, &done};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, cancel_until_done, &canceller) == 0);
  CHECK(qwen3vl_chat_ask(chat, prompt, &options, NULL, NULL) == QWEN3VL_CANCELLED);
  done = 1;
  pthread_join(thread, NULL);
  free(prompt);
  /* It was taken back. */
  CHECK(qwen3vl_chat_ask(chat, "How many shapes are there?", &options, NULL, NULL) == QWEN3VL_OK);
  CHECK(strcmp(qwen3vl_chat_answer(chat), "There are two shapes.") == 0);
  qwen3vl_chat_free(chat);
}

struct work {
  const char *folder, *image;
};
static void* load_and_answer(void* argument) {
  const struct work* work = argument;
  CHECK_ERROR(qwen3vl_load("/nonexistent/thread", NULL) == NULL, "/nonexistent/thread");
  qwen3vl_load_options load = QWEN3VL_LOAD_OPTIONS_INIT;
  load.threads = 1;
  qwen3vl_model* model = qwen3vl_load(work->folder, &load);
  CHECK(model != NULL);
  answers(model, work->image);
  qwen3vl_free(model);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  CHECK(qwen3vl_c_api_version() == QWEN3VL_C_API_VERSION);
  CHECK(strstr(qwen3vl_version(), "libqwen3vl-tiny-shapes ") == qwen3vl_version());
  CHECK(strcmp(qwen3vl_last_error(), "") == 0);
  struct progress progress = {0, 0, 0};
  qwen3vl_load_options load = QWEN3VL_LOAD_OPTIONS_INIT;
  load.threads = 1;
  load.progress = note_progress;
  load.user = &progress;
  qwen3vl_model* model = qwen3vl_load(argv[1], &load);
  CHECK(model != NULL);
  if (model == NULL) return 1;
  CHECK(progress.calls > 2 && progress.last == progress.total && progress.total > 1000000);
  answers(model, argv[2]);
  requests(model, argv[2]);
  pixels_and_limits(model);
  pixel_budget(model, argv[1]);
  errors(model, argv[2]);
  cancelling(model, argv[2]);

  struct work work = {argv[1], argv[2]};
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, load_and_answer, &work) == 0);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  CHECK(strstr(qwen3vl_last_error(), "/nonexistent/thread") == NULL); /* errors are their thread's own */

  /* A chat outlives the handle of its model. */
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  qwen3vl_free(model);
  const qwen3vl_generate_options options = greedy();
  CHECK(qwen3vl_chat_ask(chat, "Hello!", &options, NULL, NULL) == QWEN3VL_OK);
  CHECK(qwen3vl_chat_answer(chat)[0] != 0);
  qwen3vl_chat_free(chat);
  if (failures == 0) puts("all passed");
  return failures == 0 ? 0 : 1;
}
