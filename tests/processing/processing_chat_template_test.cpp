// Recognising the chat format in a checkpoint's Jinja template.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_chat_template
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "qwen3vl/processing/chat/chat_template.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
namespace fs = std::filesystem;

namespace {

constexpr ChatFormat instruct{.kind = ChatFormat::Kind::instruct};
constexpr ChatFormat thinking{.kind = ChatFormat::Kind::thinking};
constexpr ChatFormat with_switch{.kind = ChatFormat::Kind::instruct, .has_thinking_switch = true};

ChatFormat format_of(const std::string& source) { return chat_format_of_template(source, "template"); }

// The shortest useful template of a converted checkpoint, on one line.
const std::string minimal =
    R"({%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{%- if m.content is string %}{{- m.content }}{%- else %})"
    R"({%- for c in m.content %}{%- if c.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %})"
    R"({{- c.text }}{%- endif %}{%- endfor %})"
    R"({%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})";

// A template with messages written as Qwen3-VL's, and `ending`.
std::string with_ending(const std::string& ending) {
  return "{# pictures, then text -#}\n"
         "{%- for m in messages %}\n"
         "    {%- if m.role == \"user\" %}\n"
         "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{{ m.content }}{{ '<|im_end|>\\n' }}\n"
         "    {%- endif %}\n"
         "{%- endfor %}\n" +
         ending;
}

struct Folder {
  fs::path path = fs::temp_directory_path() / ("qwen3vl_chat_template_" + std::to_string(std::random_device{}()));
  Folder() { fs::create_directories(path); }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  void write(const char* name, const std::string& text) const { std::ofstream(path / name, std::ios::binary) << text; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(known_templates) {
  BOOST_CHECK(format_of(minimal) == instruct);
  BOOST_CHECK(chat_format_from_pretrained(QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes") == with_switch);
}

BOOST_AUTO_TEST_CASE(generation_prompts) {
  const std::pair<const char*, ChatFormat> cases[] = {
      {"{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n", instruct},
      {"{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n<think>\\n' }}\n{%- endif %}\n", thinking},
      {"{%- if add_generation_prompt -%}\n<|im_start|>assistant\n{% endif %}", instruct},
      {"{% if add_generation_prompt %}\n<|im_start|>assistant\n<think>\n{% endif %}", thinking},
      {"{% if add_generation_prompt %}\n<|im_start|>assistant\n  {# thoughts #}\n<think>\n{% endif %}", thinking},
      {"{%- if add_generation_prompt %}{{- \"<|im_start|>\" + 'assistant' ~ \"\\n\" }}{% endif %}", instruct},
      {"{%- if add_generation_prompt is defined and add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif "
       "%}",
       instruct},
      {"{%- if not add_generation_prompt %}{% set x = 1 %}{% else %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
       instruct},
      {"{%- if (add_generation_prompt == true) and not continue_final_message %}{{ '<|im_start|>assistant\\n' }}{% "
       "endif %}",
       instruct},
      {"{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and "
       "enable_thinking is true %}{{ '<think>\\n' }}{% endif %}{% endif %}",
       with_switch},
      {"{%- if add_generation_prompt %}{% if enable_thinking %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% elif not "
       "enable_thinking %}{{ '<|im_start|>assistant\\n' }}{% else %}x{% endif %}{% endif %}",
       with_switch},
  };
  for (const auto& [ending, expected] : cases) {
    BOOST_TEST_CONTEXT(ending) { BOOST_CHECK(format_of(with_ending(ending)) == expected); }
  }
}

BOOST_AUTO_TEST_CASE(foreign_templates_are_refused) {
  const std::string answer = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";
  BOOST_REQUIRE(format_of(with_ending(answer)) == instruct);

  CHECK_FAILS(format_of(""), "does not write <|im_start|>");
  CHECK_FAILS(format_of("{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"),
              "does not write <|im_start|>");
  // Markers only in comments or conditions are not written.
  CHECK_FAILS(format_of("{# <|im_start|> #}{% if x == '<|im_start|>' %}{% endif %}" + answer),
              "does not write <|im_end|>");
  CHECK_FAILS(format_of("{{ '<|im_start|>' + m.role }}<|im_end|><image>" + answer),
              "does not write <|vision_start|><|image_pad|><|vision_end|>");
  CHECK_FAILS(format_of(with_ending("")), "writes no generation prompt");
  CHECK_FAILS(format_of(with_ending("{{ '<|im_start|>assistant\\n' }}")), "writes no generation prompt");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}")),
              "opens the assistant's message with \"<|im_start|>model\\n\"");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}")),
              "opens the assistant's message with \"<|im_start|>assistant\\n\\n\"");
  CHECK_FAILS(
      format_of(with_ending("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' "
                            "}}{% endif %}")),
      "neither the Instruct nor the Thinking format");
  // Thinking unless switched off, as in some other models: not a format of Qwen3-VL.
  CHECK_FAILS(
      format_of(with_ending("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking "
                            "is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% "
                            "endif %}")),
      "neither the Instruct nor the Thinking format");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt %}{{ '<|im_start|>' + role }}{% endif %}")),
              "writes {{ '<|im_start|>' + role }}");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt and messages[-1].role == 'user' %}{% endif %}")),
              "depends on");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt %}{% for x in y %}a{% endfor %}{% endif %}")),
              "uses {% for %}");
  // Text from a file must not reach a terminal unescaped.
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt or '\x1b[2J\n' %}{% endif %}")), "'?[2J?'");
  CHECK_FAILS(format_of(with_ending(answer + "{% if add_generation_prompt %}x{% endif %}")), "neither");
  CHECK_FAILS(format_of(with_ending(answer + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' "
                                             "}}{% endif %}")),
              "several different generation prompts");
  // Qwen2-VL's default system message.
  CHECK_FAILS(
      format_of("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
                "{% endif %}" +
                with_ending(answer)),
      "writes a message of its own");
}

BOOST_AUTO_TEST_CASE(broken_templates_are_refused) {
  CHECK_FAILS(format_of("{{ 'a"), "does not close");
  CHECK_FAILS(format_of("{% if x"), "does not close");
  CHECK_FAILS(format_of("{# x"), "does not close");
  CHECK_FAILS(format_of("{% raw %}{{ x }}{% endraw %}"), "{% raw %} is not read");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}")),
              "no {% endif %}");
  CHECK_FAILS(format_of(with_ending("{% if add_generation_prompt and " + std::string(100000, '(') + "x" +
                                    std::string(100000, ')') + " %}")),
              "depends on");
  CHECK_FAILS(format_of(std::string(std::size_t{2} << 20, ' ')), "at most 1048576 are read");
  // Nothing that starts like a template may crash the reader.
  std::mt19937 random(3);
  const std::string whole = with_ending("{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}");
  const std::string alphabet = "{}%#-+'\"\\ \n(=~if";
  for (int i = 0; i < 20000; ++i) {
    std::string text = whole.substr(0, random() % (whole.size() + 1));
    for (int edit = 0; edit < 3 && !text.empty(); ++edit)
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    try {
      format_of(text);
    } catch (const Error&) {
    }
  }
}

BOOST_AUTO_TEST_CASE(where_templates_are_found) {
  const std::string think =
      with_ending("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}");
  const auto json = [](const nlohmann::ordered_json& value) { return value.dump(); };
  const Folder folder;
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "no chat template in");
  folder.write("tokenizer_config.json", "{\"pad_token\": \"x\"}");
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "no chat template in");
  folder.write("tokenizer_config.json", json({{"chat_template", minimal}}));
  BOOST_CHECK(chat_format_from_pretrained(folder.path) == instruct);
  using List = nlohmann::ordered_json;
  folder.write("tokenizer_config.json",
               json({{"chat_template", List::array({List{{"name", "tool_use"}, {"template", minimal}},
                                                    List{{"name", "default"}, {"template", think}}})}}));
  BOOST_CHECK(chat_format_from_pretrained(folder.path) == thinking);
  folder.write("tokenizer_config.json",
               json({{"chat_template", List::array({List{{"name", "one"}, {"template", minimal}}})}}));
  BOOST_CHECK(chat_format_from_pretrained(folder.path) == instruct);
  folder.write("chat_template.json", json({{"chat_template", think}}));
  BOOST_CHECK(chat_format_from_pretrained(folder.path) == thinking);
  folder.write("chat_template.jinja", minimal);
  BOOST_CHECK(chat_format_from_pretrained(folder.path) == instruct);

  fs::remove(folder.path / "chat_template.jinja");
  folder.write("chat_template.json", "{\"chat_template\": 3}");
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "chat_template must be a string");
  folder.write("chat_template.json", "{\"chat_template\": [3]}");
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "chat_template lists something else");
  folder.write("chat_template.json", "{\"chat_template\": []}");
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "no template named");
  folder.write("chat_template.json", "[");
  CHECK_FAILS(chat_format_from_pretrained(folder.path), "is not valid JSON");
}
