/// Targets: tokenizer files, tokens, conversations, answers, and the lines of a batch.
#include <utf8proc.h>

#include <array>
#include <cmath>
#include <fstream>
#include <sstream>
#include <vector>

#include "program/input/lines.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/chat/request_json.hpp"
#include "qwen3vl/processing/chat/tools.hpp"
#include "qwen3vl/processing/grounding/grounding.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_json.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"
#include "target.hpp"

namespace fuzz {
namespace {

using namespace qwen3vl;

const std::filesystem::path tiny_shapes = std::filesystem::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";

void check_ids(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  for (const TokenId id : ids) require(tokenizer.contains(id), "text becomes tokens that the tokenizer has");
}

void tokenizer_json(Bytes bytes) {
  allow_errors([&] {
    const Tokenizer tokenizer(TokenizerFile::parse(as_text(bytes), "tokenizer.json"), TokenizerSettings());
    const std::string text = "Hello <|im_start|> w\xc3\xb6rld 12  \n\xff!";
    const std::vector<TokenId> ids = tokenizer.encode(text);
    check_ids(tokenizer, ids);
    require(utf8::valid_prefix(tokenizer.decode(ids)) == tokenizer.decode(ids).size(), "tokens become UTF-8");
  });
}

void tokenizer_config(Bytes bytes) {
  static const MemoryFile file;
  static const Folder folder;
  static const bool linked = (folder.link("tokenizer_config.json", file), true);
  require(linked, "the folder is ready");
  file.set(bytes);
  allow_errors([&] {
    static const TokenizerFile vocabulary = TokenizerFile::read(tiny_shapes / "tokenizer.json");
    const Tokenizer tokenizer(vocabulary, TokenizerSettings::read(folder.path() / "tokenizer_config.json"));
    check_ids(tokenizer, tokenizer.encode("a <|image_pad|> b"));
  });
  allow_errors(
      [&] { ProcessorConfig::from_pretrained(folder.path(), TokenizerSettings::from_pretrained(folder.path())); });
  allow_errors([&] { ChatTemplate::from_pretrained(folder.path()); });
}

const Tokenizer& tokenizer() {
  static const Tokenizer loaded = Tokenizer::from_pretrained(tiny_shapes);
  return loaded;
}

/// NFC by utf8proc's own function, which the library does not use.
std::string reference_nfc(const std::string& text) {
  std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> mapped(nullptr, std::free);
  utf8proc_uint8_t* to = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &to, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  mapped.reset(to);
  require(length >= 0, "utf8proc normalises valid UTF-8");
  return {reinterpret_cast<const char*>(to), static_cast<std::size_t>(length)};
}

/// Round trip of a text: nothing is lost except by normalisation.
void bpe_round_trip(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  const std::vector<TokenId> ids = tokenizer().encode(text);
  check_ids(tokenizer(), ids);
  const std::string back = tokenizer().decode(ids);
  const std::string valid = utf8::lossy(text);
  // Pieces between added tokens are normalised separately.
  if (valid.find("<|") == std::string::npos && valid.find("<t") == std::string::npos &&
      valid.find("</") == std::string::npos)
    require(back == reference_nfc(valid), "a text comes back in its normal form");
  require(tokenizer().decode(tokenizer().encode(back)) == back, "what came back stays as it is");
}

/// Token ids, two bytes each: all at once and one by one.
void bpe_decode(Bytes bytes) {
  Input input(bytes);
  const bool skip = (input.byte() & 1) != 0;
  std::vector<TokenId> ids;
  for (std::size_t i = 1; i + 1 < bytes.size(); i += 2) ids.push_back(static_cast<TokenId>(input.number(2)));
  const std::string whole = tokenizer().decode(ids, skip);
  require(utf8::valid_prefix(whole) == whole.size(), "tokens become UTF-8");
  TokenStream stream(tokenizer(), skip);
  std::string pieces;
  for (const TokenId id : ids) {
    const std::string piece = stream.push(id);
    require(utf8::valid_prefix(piece) == piece.size(), "a stream gives out whole characters");
    pieces += piece;
  }
  require(pieces + stream.flush() == whole, "a stream gives out what decoding the whole gives");
}

/// Flags, then a conversation as JSON.
void chat(Bytes bytes) {
  Input input(bytes);
  const std::uint8_t flags = input.byte();
  static const ChatTemplate templates[] = {
      ChatTemplate::instruct(), ChatTemplate::from_pretrained(tiny_shapes),
      ChatTemplate(read_text_file(std::filesystem::path(QWEN3VL_TEST_DATA) / "assets/chat_templates/thinking.jinja"))};
  const ChatTemplate& format = templates[(flags & 3) % 3];
  ChatTemplateOptions options{.add_generation_prompt = (flags & 4) != 0,
                              .continue_final_message = (flags & 8) != 0,
                              .add_vision_id = (flags & 16) != 0,
                              .enable_thinking = (flags & 32) != 0};
  const std::string_view text = as_text(input.rest());
  allow_errors([&] {
    if ((flags & 64) != 0) options.tools = tools_from_json(text, "tools");
    const Conversation messages = (flags & 64) != 0 ? Conversation{user("x")} : messages_from_json(text);
    const std::string prompt = format.render(messages, options).text;
    require(utf8::valid_prefix(prompt) == prompt.size(), "a prompt is UTF-8");
    const auto count = [&](ContentPart::Kind kind) { return find_media(messages, kind).size(); };
    require(prompt.size() >= count(ContentPart::Kind::image) / 2, "images take room in a prompt");
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::image))
      allow_errors([&, part = part, place = place] { media_path(part->source, "folder", place); });
  });
}

/// Flags, then a request of another tool as JSON. What is made of it are messages, which may still say too little. The
/// same as a row of --embed and of --rerank.
void request(Bytes bytes) {
  static constexpr std::string_view fields[] = {"max_new_tokens", "temperature", "seed", "sequence_bias"};
  Input input(bytes);
  const std::uint8_t flags = input.byte();
  const RequestOptions options{.generation_fields = std::span(fields).first((flags & 1) != 0 ? 4 : 0),
                               .ignore_unknown = (flags & 2) != 0};
  const std::string_view text = as_text(input.rest());
  allow_errors([&] {
    const ChatRequest read = request_from_json(text, options);
    require(read.messages.is_array() && read.generation.is_object(), "a request has messages and settings");
    require(read.tools.is_null() || read.tools.is_array(), "tools are a list");
    require(read.chat_template_kwargs.is_null() || read.chat_template_kwargs.is_object(), "variables are an object");
    for (const auto& [name, value] : read.generation.items())
      require(std::ranges::find(fields, name) != std::end(fields), "settings are those that the caller knows");
    const Conversation messages = messages_from_json(read.messages);
    require(messages.size() == read.messages.size(), "each message is read");
    require(request_from_json(read.messages.dump(), options).messages == read.messages, "what is made stays");
  });
  allow_errors([&] {
    const EmbeddingInput read = embedding_row_from_json(text, options).input;
    for (const auto* parts : {&read.image, &read.video})
      for (const ContentPart& part : *parts)
        require(!part.source.empty() || !part.frames.empty(), "each image and video has a name");
  });
  allow_errors([&] {
    const RetrievalItem query = reranker_row_from_json(text, options).input.query;
    require(!query.text.empty() || !query.image.empty() || !query.video.empty(), "there is a query");
  });
}

void chat_template(Bytes bytes) {
  static const jinja::Limits limits{.max_steps = 200'000, .max_output_bytes = 1'000'000, .max_memory = 10'000'000};
  static const nlohmann::ordered_json messages = nlohmann::ordered_json::parse(R"([{"role": "system", "content": "s"},
      {"role": "user", "content": [{"type": "image", "image": "a"}, {"type": "text", "text": " \u00e9 <b> "}]},
      {"role": "assistant", "content": "a|b", "x": [1, 2.5, null, true], "tool_calls": [{"function": {"name": "f"}}]}])");
  allow_errors([&] {
    const jinja::Template compiled(std::string(as_text(bytes)), "chat_template.jinja", limits);
    const jinja::Rendered rendered =
        compiled.render({{"messages", messages}, {"add_generation_prompt", true}, {"n", 3}});
    require(utf8::valid_prefix(rendered.text) == rendered.text.size(), "what a template writes is UTF-8");
    for (const auto& [begin, end] : rendered.generations) require(begin <= end, "spans are in order");
    require(compiled.literal_text().size() <= 4 * bytes.size() + 4, "a template's words are its own");
  });
}

/// An answer taken apart at once and in pieces: how many bytes each, then the text.
void answer(Bytes bytes) {
  Input input(bytes);
  const std::uint8_t flags = input.byte();
  const AnswerOptions options{.starts_in_reasoning = (flags & 1) != 0, .parse_tool_calls = (flags & 2) == 0};
  const std::size_t step = flags / 4 + 1u;
  const std::string_view text = as_text(input.rest());
  const ParsedAnswer whole = parse_answer(text, options);
  AnswerStream stream(options);
  ParsedAnswer joined;
  const auto add = [&](const ParsedAnswer& part) {
    if (part.reasoning) joined.reasoning = joined.reasoning.value_or("") + *part.reasoning;
    joined.text += part.text;
    joined.tool_calls.insert(joined.tool_calls.end(), part.tool_calls.begin(), part.tool_calls.end());
    joined.errors.insert(joined.errors.end(), part.errors.begin(), part.errors.end());
  };
  for (std::size_t at = 0; at < text.size(); at += step) add(stream.push(text.substr(at, step)));
  add(stream.flush());
  require(joined.text == whole.text && joined.reasoning == whole.reasoning && joined.errors == whole.errors &&
              joined.tool_calls.size() == whole.tool_calls.size(),
          "the pieces of an answer are those of the whole");
}

/// Height and width, then the answer.
void grounding(Bytes bytes) {
  Input input(bytes);
  const int height = static_cast<int>(input.number(2)), width = static_cast<int>(input.number(2));
  const std::string_view text = as_text(input.rest());
  allow_errors([&] {
    const std::vector<GroundedObject> objects = parse_grounding(text, height, width);
    for (const GroundedObject& object : objects) {
      if (const auto* const box = std::get_if<GroundedBox>(&object.place)) {
        require(0 <= box->x1 && box->x1 <= box->x2 && box->x2 <= width, "a box is in the picture, corners in order");
        require(0 <= box->y1 && box->y1 <= box->y2 && box->y2 <= height, "a box is in the picture, corners in order");
      } else {
        const auto& point = std::get<GroundedPoint>(object.place);
        require(0 <= point.x && point.x <= width && 0 <= point.y && point.y <= height, "a point is in the picture");
      }
    }
    require(grounding_to_json(objects).size() == objects.size(), "every object is in the JSON");
  });
}

/// Small images, so that a run takes microseconds.
Processor small_processor() {
  ImageProcessorOptions images;
  images.patch_size = 4;
  images.shortest_edge = 64;
  images.longest_edge = 1024;
  VideoProcessorOptions videos;
  static_cast<ImageProcessorOptions&>(videos) = images;
  videos.max_frames = 8;
  return {tokenizer(), ImageProcessor(images), ChatTemplate::instruct(),
          ProcessorConfig::from_pretrained(tiny_shapes, TokenizerSettings::from_pretrained(tiny_shapes)),
          VideoProcessor(videos)};
}

/// The lines of a batch, as the program reads them, up to the model.
void batch(Bytes bytes) {
  static const Folder folder;
  static const Processor processor = [] {
    const auto copy = [](const char* from, const char* to) {
      std::filesystem::copy_file(std::filesystem::path(QWEN3VL_TEST_DATA) / from, folder.path() / to);
    };
    std::filesystem::create_directory(folder.path() / "clip");
    copy("fuzz/corpus/image/gray.png", "a.png");
    copy("fuzz/corpus/image/small.jpg", "b.jpg");
    copy("fuzz/corpus/image/gray.png", "clip/0.png");
    copy("fuzz/corpus/image/gray.png", "clip/1.png");
    copy("assets/gif/two_colours.gif", "c.gif");
    std::ofstream(folder.path() / "clip/clip.json") << R"({"fps": 2})";
    return small_processor();
  }();
  std::istringstream stream{std::string(as_text(bytes))};
  program::LineReader lines(stream, max_json_bytes);
  std::string line;
  for (bool too_long = false; lines.next(line, too_long);) {
    require(!too_long && line.find('\n') == std::string::npos, "a line is a line");
    allow_errors([&] {
      const Conversation messages = messages_from_json(line);
      const ModelInputs inputs = processor.apply_chat_template(messages, {.add_generation_prompt = true},
                                                               {.media_directory = folder.path(),
                                                                .limits = {.max_pixels = 1 << 18},
                                                                .readers = linked_readers(),
                                                                .max_tokens = 4096,
                                                                .warn = {}});
      std::int64_t patches = 0;
      for (const auto& grids : {inputs.image_grid_thw, inputs.video_grid_thw})
        for (const GridThw& grid : grids) patches += grid.patches();
      std::int64_t pads = 0;
      for (index_t i = 0; i < inputs.length(); ++i) pads += inputs.mm_token_type_ids(0, i) != text_token ? 1 : 0;
      require(pads * 4 == patches, "there is a token for each four patches");
    });
  }
}

constexpr Target targets[] = {{"tokenizer_json", 16384, tokenizer_json},
                              {"tokenizer_config", 2048, tokenizer_config},
                              {"bpe_round_trip", 512, bpe_round_trip},
                              {"bpe_decode", 512, bpe_decode},
                              {"chat", 2048, chat},
                              {"chat_template", 4096, chat_template},
                              {"request", 2048, request},
                              {"answer", 1024, answer},
                              {"grounding", 1024, grounding},
                              {"batch", 1024, batch}};

}  // namespace

std::span<const Target> text_targets() { return targets; }

}  // namespace fuzz
