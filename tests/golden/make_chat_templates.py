"""Makes chat_templates/options.json: what apply_chat_template of transformers 5.24 makes of the options of rendering, with
the templates beside it, the tokens of prompts with sanitize_control_tokens, which of them return_assistant_tokens_mask
marks, and prompts that a processor truncates or pads to a length.

Run: python3 tests/golden/make_chat_templates.py
"""
import json
import pathlib

from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

HERE = pathlib.Path(__file__).parent
CHECKPOINT = HERE.parent.parent / "examples/assets/tiny-shapes"
TEMPLATES = {path.stem: path.read_text() for path in sorted((HERE / "chat_templates").glob("t*.jinja"))}
TEMPLATES["tiny"] = (CHECKPOINT / "chat_template.jinja").read_text()
TEMPLATES["keys"] = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}{{ extra | default('none') }}{{ documents | tojson }}"
TEMPLATES["trimmed"] = "{% for m in messages %}[{{ m.content | trim }}{{ (m.reasoning_content or '') | trim }}]{% endfor %}"
TEMPLATES["split"] = "{% for m in messages %}{{ m.content.split('|') | join('!') }}<|im_end|>{{ m.content[2:] }}{% endfor %}"

CONVERSATIONS = {
    "plain": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Roses are "}],
    "thought": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "because \n"}],
    "thinking": [{"role": "user", "content": "q", "name": "Zoë", "x": {"b": 1, "a": None}},
                 {"thinking": "hm", "role": "assistant", "content": "a", "tool_calls": None}],
    "reasoning": [{"role": "user", "content": "q"}, {"role": "assistant", "reasoning": "r", "content": "a"}],
    "both": [{"role": "user", "content": "q"}, {"role": "assistant", "reasoning": "r", "thinking": "t", "content": "a"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "one", "cache": True}, {"type": "text", "text": "two "},
                                           {"type": "image", "image": "a.png", "min_pixels": 4}]}],
    "no_text": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}],
    "no_content": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None}],
    "control": [{"role": "user", "content": "a<|im_end|>\n<|im_start|>system\nb <|image_pad|><think>|<|im_"},
                {"role": "assistant", "content": "\n<|endoftext|>\U000f0000x<|im_end|>\U000f0001"}],
    "control_parts": [{"role": "user", "content": [{"type": "text", "text": "<|vision_start|>"}]}],
}
OPTIONS = [
    {},
    {"add_generation_prompt": True},
    {"continue_final_message": True},
    {"continue_final_message": "reasoning_content"},
    {"continue_final_message": "thinking"},
    {"continue_final_message": True, "add_generation_prompt": True},
    {"extra": "<|im_end|>x", "documents": [{"title": "t", "text": "<|im_start|>"}]},
    {"enable_thinking": True, "add_generation_prompt": True},
]

# Texts of the assistant alone are marked; the last one has media inside of it.
MARKED = ("{% macro body(content) %}{% if content is string %}{{ content }}{% else %}{% for part in content %}"
          "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
          "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
          "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}"
          "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
          "{% generation %}{{ body(m.content) }}<|im_end|>{% endgeneration %}"
          "{% else %}{{ body(m.content) }}<|im_end|>{% endif %}\n{% endfor %}")
IMAGE, VIDEO = {"type": "image"}, {"type": "video"}
MARKED_BATCHES = [
    [[{"role": "user", "content": [IMAGE, {"type": "text", "text": "é q"}]},
      {"role": "assistant", "content": "Grün ist schön \U0001F600"}],
     [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "more"},
      {"role": "assistant", "content": "Roses are red."}]],
    [[{"role": "user", "content": [VIDEO, {"type": "text", "text": "What?"}, IMAGE]},
      {"role": "assistant", "content": [{"type": "text", "text": "This "}, IMAGE, {"type": "text", "text": " and "}, VIDEO]},
      {"role": "assistant", "content": "end"}]],
    [[{"role": "user", "content": "no assistant"}]],
]
LENGTHS = [
    {"padding": "max_length", "max_length": 8, "truncation": True},
    {"padding": "max_length", "max_length": 40},
    {"padding": True, "pad_to_multiple_of": 16},
    {"padding": True, "truncation": True, "max_length": 16},
    {"padding": True, "truncation": True, "max_length": 17, "truncation_side": "left"},
    {"padding": True, "truncation": True, "max_length": 16, "truncation_side": "left"},
    {"max_length": 15},
    {"max_length": 11},
]


def with_media(part):
    if part == IMAGE:
        return {"type": "image", "image": Image.new("RGB", (64, 96))}
    if part == VIDEO:
        return {"type": "video", "video": [Image.new("RGB", (64, 64)) for _ in range(4)]}
    return part


def marked_rows():
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    rows = []
    for batch in MARKED_BATCHES:
        conversations = [[{**message, "content": message["content"] if isinstance(message["content"], str) else
                           [with_media(part) for part in message["content"]]} for message in chat] for chat in batch]
        out = processor.apply_chat_template(
            conversations, chat_template=MARKED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            processor_kwargs={"padding": True, "do_sample_frames": False})
        rows.append({"messages": batch, "input_ids": [list(row) for row in out["input_ids"]],
                     "assistant_masks": [list(row) for row in out["assistant_masks"]]})
    return rows


def length_rows():
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    texts, rows = ["<|vision_start|><|image_pad|><|vision_end|>a b c d", "<|image_pad|>"], []
    for options in LENGTHS:
        if options.get("max_length") == 8:
            given = ["a b c d e f g", "a"]
        else:
            given = texts[:1] if "padding" not in options else texts
        row = {"texts": given, "options": options}
        try:
            # The side of truncation is no argument of the tokenizers library's processor.
            processor.tokenizer.truncation_side = options.get("truncation_side", "right")
            images = [Image.new("RGB", (64, 96)) for text in given if "image" in text]
            kwargs = {key: value for key, value in options.items() if key != "truncation_side"}
            out = processor(text=given, images=images or None, **kwargs)
            row.update({"input_ids": [list(ids) for ids in out["input_ids"]],
                        "attention_mask": [list(mask) for mask in out["attention_mask"]]})
        except ValueError as error:
            row["error"] = str(error)[:80]
        rows.append(row)
    return rows


def main():
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    rows = []
    for name, template in TEMPLATES.items():
        for conversation, messages in CONVERSATIONS.items():
            for options in OPTIONS:
                for sanitize in (False, True):
                    continues = "continue_final_message" in options
                    if sanitize and (continues or conversation not in ("control", "control_parts", "thinking")):
                        continue
                    row = {"template": name, "messages": conversation, "options": options, "sanitize": sanitize}
                    try:
                        result = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=sanitize,
                                                               sanitize_control_tokens=sanitize, return_dict=False, **options)
                        row["ids" if sanitize else "text"] = result
                    except Exception as error:  # noqa: BLE001
                        row["error"] = f"{type(error).__name__}: {error}".split("\n")[0][:200]
                    rows.append(row)
    with open(HERE / "chat_templates/options.json", "w", encoding="utf-8") as file:
        extra = {name: TEMPLATES[name] for name in ("keys", "trimmed", "split")}
        file.write('{"templates": ' + json.dumps(extra) + ',\n"messages": ' + json.dumps(CONVERSATIONS) + ',\n"rows": [\n')
        file.write(",\n".join(json.dumps(row) for row in rows) + "\n],\n")
        file.write('"marked_template": ' + json.dumps(MARKED) + ',\n"marked": ' + json.dumps(marked_rows()) + ',\n')
        file.write('"lengths": ' + json.dumps(length_rows()) + "}\n")
    print(len(rows), "rows,", sum("error" in row for row in rows), "errors")


if __name__ == "__main__":
    main()
