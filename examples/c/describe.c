/* Asks about an image, in C: describe MODEL_FOLDER IMAGE [QUESTION...]
 * The answer appears as it is written. Further questions go on with the conversation. */
#include <stdio.h>

#include "qwen3vl/c/qwen3vl.h"

static int print_piece(void* user, const char* text, size_t length) {
  (void)user;
  fwrite(text, 1, length, stdout);
  return fflush(stdout) != 0; /* nobody reads any more: stop */
}

static int complain(const char* what) {
  fprintf(stderr, "%s: %s\n", what, qwen3vl_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL_FOLDER IMAGE [QUESTION...]\n", argv[0]);
    return 2;
  }
  if (qwen3vl_c_api_version() != QWEN3VL_C_API_VERSION) {
    fprintf(stderr, "%s is of another version than this program\n", qwen3vl_version());
    return 1;
  }
  qwen3vl_model* model = qwen3vl_load(argv[1], NULL);
  if (model == NULL) return complain("cannot load the model");
  qwen3vl_chat* chat = qwen3vl_chat_new(model, NULL);
  int result = 1;
  if (chat == NULL || qwen3vl_chat_add_image_file(chat, argv[2]) != QWEN3VL_OK) {
    complain("cannot begin");
  } else {
    qwen3vl_generate_options options = QWEN3VL_GENERATE_OPTIONS_INIT;
    options.temperature = 0; /* greedy: the same answer every time */
    const char* const usual[] = {"Describe this image."};
    const char* const* questions = argc > 3 ? (const char* const*)(argv + 3) : usual;
    const int count = argc > 3 ? argc - 3 : 1;
    result = 0;
    for (int i = 0; i < count && result == 0; ++i) {
      if (qwen3vl_chat_ask(chat, questions[i], &options, print_piece, NULL) == QWEN3VL_ERROR) result = complain("no answer");
      puts("");
    }
  }
  qwen3vl_chat_free(chat);
  qwen3vl_free(model);
  return result;
}
