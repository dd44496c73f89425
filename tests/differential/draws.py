"""Random conversations, with options, media and settings of generation. A draw is a dictionary that JSON can hold; its
media are files of its folder. It follows from its seed alone."""

import copy

import media_files
import random_templates

WORDS = """the a Describe this image What is where How many shapes are there? red green large star circle left of
Paris 1234567 3.14 don't I'm x=y+1; naïve Zoë straße 東京 こんにちは 한국어 Привет мир مرحبا שלום हिन्दी 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 é é ﬁ ½ Ⅷ ǅ İ ı
http://a.b/c?d=e&f <b>bold</b> "quoted" it's \\n \\ / {{ x }} {% raw %} {# c #} ${y} `code` <|im <| |> <image> <video>""".split()
SPACES = [" "] * 12 + [
    "\n",
    "\n\n",
    "  ",
    "   ",
    "\t",
    "\r\n",
    "\r",
    "",
    "",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x85",
    "\x0b",
    "\x1c",
    "\u200b",
    "\ufeff",
    "\x00",
    "\x7f",
]
CONTROL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "<|box_start|>",
    "<|fim_prefix|>",
    "<result>",
    "</result>",
    "<|vision_pad|>",
]
PLACEHOLDERS = ["<|image_pad|>", "<|video_pad|>"]


def text(rng, control=0.1, placeholders=0.0):
    kind = rng.random()
    if kind < 0.06:
        return ""
    if kind < 0.10:
        return rng.choice(SPACES) * rng.randint(1, 3)
    if kind < 0.13:  # any characters
        limits = rng.choice([(0x20, 0x17F), (0x300, 0x36F), (0x900, 0xFFF), (0x3000, 0xD7A3), (0x1F000, 0x1FAFF)])
        return "".join(
            chr(rng.randint(*limits)) if rng.random() < 0.8 else rng.choice(SPACES) for _ in range(rng.randint(1, 20))
        )
    count = rng.randint(50, 400) if kind > 0.97 else rng.randint(1, 12)
    out = rng.choice(SPACES) if rng.random() < 0.15 else ""
    for i in range(count):
        draw = rng.random()
        if draw < control * 0.5:
            out += rng.choice(CONTROL)
        elif draw < control * 0.5 + placeholders:
            out += rng.choice(PLACEHOLDERS)
        elif draw < control * 0.5 + placeholders + 0.03:
            out += chr(
                rng.choice(
                    [
                        rng.randint(0x21, 0x24F),
                        rng.randint(0x300, 0xD7FF),
                        rng.randint(0xE000, 0xFFFD),
                        rng.randint(0x10000, 0x2FFFF),
                    ]
                )
            )
        else:
            out += rng.choice(WORDS)
        if i + 1 < count or rng.random() < 0.15:
            out += rng.choice(SPACES)
    return out


def value(rng, depth=0):
    """Some JSON, as it stands in arguments of tools."""
    kind = rng.randrange(10 if depth < 3 else 7)
    if kind < 3:
        return text(rng)
    if kind == 3:
        return rng.choice([0, 1, -1, 7, 2**31, -(2**53) - 1, 2**63 - 1])
    if kind == 4:
        return rng.choice(
            [0.0, 1.0, -0.0, 0.1, 1e-7, 1e16, 1.5e300, 123456789.125, 1 / 3, 5e-324, 100.0, 1e22, 1e-5, 0.0001]
        )
    if kind == 5:
        return rng.choice([True, False])
    if kind == 6:
        return None
    if kind < 9:
        return {name(rng): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [value(rng, depth + 1) for _ in range(rng.randrange(4))]


def name(rng):
    return rng.choice(
        ["city", "days", "unit", "x", "items", "name", "value", "größe", "a b", "with'quote", "keys", "<tag>", "type"]
    )


def tool(rng):
    properties = {
        name(rng): rng.choice(
            [
                {"type": "string"},
                {"type": "string", "enum": ["a", "b'", '"c"', "é"]},
                {"type": "number"},
                {"type": "array", "items": {"type": "integer"}},
                {"type": "string", "description": text(rng)},
            ]
        )
        for _ in range(rng.randrange(4))
    }
    function = {
        "name": rng.choice(["get_weather", "add", "search", "Zoë_tool"]),
        "parameters": {"type": "object", "properties": properties},
    }
    if rng.random() < 0.7:
        function["description"] = text(rng)
    if rng.random() < 0.5:
        function["parameters"]["required"] = [p for p in properties if rng.random() < 0.5]
    return {"type": "function", "function": function}


def content(rng, media, kinds=()):
    """A text, or parts of texts and of `kinds`; `media(kind)` makes a part."""
    words = lambda: text(rng, placeholders=0.02 if rng.random() < 0.1 else 0.0)  # noqa: E731
    if not kinds and rng.random() < 0.5:
        return words()
    parts = [media(kind) for kind in kinds] + [
        {"type": "text", "text": words()} for _ in range(rng.randint(0 if kinds else 1, 2))
    ]
    rng.shuffle(parts)
    return parts if rng.random() < 0.97 else []


def assistant(rng):
    message = {"role": "assistant", "content": content(rng, None)}
    if rng.random() < 0.3:
        message[rng.choice(["reasoning_content", "thinking", "reasoning"])] = text(rng) if rng.random() < 0.9 else None
    if rng.random() < 0.08:
        message[rng.choice(["reasoning_content", "thinking", "reasoning"])] = text(rng)
    if rng.random() < 0.15 and isinstance(message["content"], str):
        message["content"] = f"<think>{text(rng)}</think>{message['content']}"
    if rng.random() < 0.25:
        calls = []
        for _ in range(rng.randint(1, 2)):
            arguments = {name(rng): value(rng) for _ in range(rng.randrange(3))}
            call = {
                "name": rng.choice(["get_weather", "add"]),
                "arguments": arguments if rng.random() < 0.8 else text(rng),
            }
            calls.append(
                call
                if rng.random() < 0.3
                else {"type": "function", "function": call, **({"id": "c1"} if rng.random() < 0.3 else {})}
            )
        message["tool_calls"] = calls
        if rng.random() < 0.4:
            message["content"] = rng.choice(["", None])
    if rng.random() < 0.05:
        message.pop("content")
    keys = list(message)
    if rng.random() < 0.2:
        rng.shuffle(keys)
    return {key: message[key] for key in keys}


def conversation(rng, media=None, counts=None):
    """Messages in the usual order, more or less. `counts` images and videos are put into those of users, mostly."""
    counts = counts or {}
    kinds = [kind for kind, n in counts.items() for _ in range(n)]
    rng.shuffle(kinds)
    messages = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": content(rng, media)})
    turns = rng.choice([1, 1, 1, 2, 2, 3, 5])
    for turn in range(turns):
        mine, kinds = (kinds, []) if turn == turns - 1 else (kinds[:1], kinds[1:])
        messages.append({"role": "user", "content": content(rng, media, mine)})
        if mine and not messages[-1]["content"]:
            messages[-1]["content"] = [media(kind) for kind in mine]
        if turn + 1 < turns or rng.random() < 0.35:
            messages.append(assistant(rng))
            if rng.random() < 0.2:
                messages += [{"role": "tool", "content": content(rng, media)} for _ in range(rng.randint(1, 2))]
                if rng.random() < 0.3:
                    messages[-1]["name"] = "get_weather"
    if rng.random() < 0.06:
        messages[rng.randrange(len(messages))]["role"] = rng.choice(["developer", "System", "", "tool", "ipython"])
    if rng.random() < 0.06:
        rng.shuffle(messages)
    if rng.random() < 0.1:
        messages[rng.randrange(len(messages))][rng.choice(["name", "id", "x"])] = value(rng, 2)
    return messages


def chat_options(rng, templates, messages):
    """Options of the chat template; the template is one of `templates` (names) or none."""
    chat = {}
    if rng.random() < 0.75:
        chat["chat_template"] = rng.choice(templates)
    if rng.random() < 0.6:
        chat["add_generation_prompt"] = rng.random() < 0.85
    if rng.random() < 0.3 and messages[-1]["role"] == "assistant":
        chat["continue_final_message"] = rng.choice(
            [True, True, True, "content", "reasoning_content", "thinking", "reasoning"]
        )
        if rng.random() < 0.9:
            chat.pop("add_generation_prompt", None)
    if rng.random() < 0.3:
        chat["tools"] = [tool(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.1:
        chat["documents"] = [{"title": text(rng), "text": text(rng)} for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.25:
        chat["enable_thinking"] = rng.random() < 0.5
    if rng.random() < 0.25:
        chat["add_vision_id"] = rng.random() < 0.7
    if rng.random() < 0.15:
        chat["chat_template_kwargs"] = {rng.choice(["extra", "date", "eos_token", "enable_thinking"]): value(rng, 2)}
    return chat


# ---- kinds of draws


def text_draw(rng, folder, templates):
    """Conversations without files (media are named and not read, unless the prompt is tokenised)."""
    has_media = rng.random() < 0.25
    media = lambda kind: {
        "type": kind,
        rng.choice([kind, "url", "path"] if kind == "video" else [kind, "url", "path", "image_url"]): "none.png",
    }  # noqa: E731
    messages = conversation(rng, media, {"image": rng.randrange(3), "video": rng.randrange(2)} if has_media else {})
    chat = chat_options(rng, templates, messages)
    if rng.random() < 0.4:
        chat["chat_template"] = random_templates.template(rng)
    draw = {"conversations": [messages], "chat": chat, "options": {}}
    if has_media:
        draw["render"] = True
    elif rng.random() < 0.4:
        chat["sanitize_control_tokens"] = True
    return draw


def image_part(rng, folder, keys):
    """A part with an image in a file of its own."""
    file = media_files.save_image(rng, folder, f"i{len(list(folder.iterdir()))}")
    source, is_base64 = media_files.encoded(folder / file, rng)
    part = {
        "type": "image",
        "base64" if is_base64 and rng.random() < 0.5 else rng.choice(["image", "url", "path"]): source,
    }
    if not is_base64 and rng.random() < 0.15:
        part = {"type": "image_url", "image_url": {"url": source}}
    if keys:
        part = {"type": "image", "image": part.get("image", source), **size_keys(rng)}
    return part, file


def size_keys(rng, video=False):
    """Some of the keys of qwen-vl-utils about sizes; at least one."""
    keys = {}
    while not keys:
        if rng.random() < 0.5:
            keys["min_pixels"] = rng.choice([0, 1, 784, 4096, 16384, 50176, rng.randint(1, 90000)])
        if rng.random() < 0.5:
            least = keys.get(
                "min_pixels", 140000 if video and rng.random() < 0.9 else 0
            )  # videos have 131072 where nothing is said
            keys["max_pixels"] = max(
                rng.choice([4096, 16384, 50176, 102400, rng.randint(1024, 120000)]), least if rng.random() < 0.9 else 0
            )
        if rng.random() < 0.25:
            keys["resized_height"] = rng.choice([rng.randint(1, 300), 1.5 * rng.randint(20, 100)])
        if rng.random() < 0.25:
            keys["resized_width"] = rng.randint(1, 300)
    return keys


def video_part(rng, folder, keys):
    """A part with a video: a list of images, a folder, a GIF or a file. Returns the kind, too."""
    name_ = f"v{len(list(folder.iterdir()))}"
    kind = rng.choice(["list", "list", "folder", "gif", "file", "file"])
    video = media_files.frames(rng)
    part = {"type": "video"}
    if kind == "list":
        part["video"] = media_files.save_frames(folder, name_, video, rng.choice(["png", "png", "jpeg"]))
        if keys:
            part.update(size_keys(rng, video=True))
    else:
        if kind == "folder":
            media_files.save_frames(folder, name_, video)
            source = name_
        elif kind == "gif":
            source = media_files.save_gif(rng, folder, name_, video)
        else:
            source = media_files.save_video(rng, folder, name_, video)
        part["video" if keys else rng.choice(["video", "url", "path"])] = source
        if keys:
            part.update(size_keys(rng, video=True))
            choice = rng.random()
            if choice < 0.3:
                part["nframes"] = rng.choice([2, 3, 4, 5, 8, rng.randint(1, 40)])
            elif choice < 0.7:
                part["fps"] = rng.choice([0.5, 1, 2, 3.7, 10, 24])
            if rng.random() < 0.2:
                part["min_frames"] = rng.choice([1, 2, 4, 6, 7])
            if rng.random() < 0.2:
                part["max_frames"] = rng.choice([4, 5, 8, 16])
            if rng.random() < 0.2:
                part["video_start"] = rng.choice([0, 0.5, 1, -1, 2.25])
            if rng.random() < 0.2:
                part["video_end"] = rng.choice([0.5, 1, 3, 100, 0.1])
        elif rng.random() < 0.3:
            part["num_frames"] = rng.choice([1, 2, 3, 4, 6, 9])
    if kind in ("list", "folder"):
        if rng.random() < 0.5:
            part["sample_fps"] = rng.choice([1, 2.0, 4, 0.5, 29.97])
        if rng.random() < 0.2:
            part["raw_fps"] = rng.choice([2.0, 8, 30])
    if keys and rng.random() < 0.3:
        part["total_pixels"] = rng.choice([50000, 200000, 1000000, 50.5e4])
    return part, kind


def settings(rng):
    """Settings of the image and the video processor, in the place of the checkpoint's."""

    def one(video):
        out = {}
        if rng.random() < 0.6:
            least = rng.choice([1, 4096, 20000, 65536])
            out["size"] = {
                "shortest_edge": least * (4 if video else 1),
                "longest_edge": rng.choice([least, least * 3, 200000]) * (8 if video else 1),
            }
        if rng.random() < 0.3:
            out["resample"] = rng.choice([0, 1, 2, 3])
        if rng.random() < 0.3:
            out["image_mean"] = rng.choice([[0.0, 0.0, 0.0], [0.48145466, 0.4578275, 0.40821073], 0.5])
        if rng.random() < 0.3:
            out["image_std"] = rng.choice([[1.0, 1.0, 1.0], [0.26862954, 0.26130258, 0.27577711], 0.5])
        if rng.random() < 0.15:
            out["do_normalize"] = False
        if rng.random() < 0.15:
            out["do_rescale"] = False
        if rng.random() < 0.1:
            out["rescale_factor"] = 1 / 127.5
        if video and rng.random() < 0.3:
            out.update(
                rng.choice(
                    [{"fps": 1}, {"fps": 4.0}, {"num_frames": 6, "fps": None}, {"min_frames": 2, "max_frames": 10}]
                )
            )
        if video and rng.random() < 0.3:
            out.update({"cap_pixels_per_frame": True, "max_video_tokens": rng.choice([16, 100, 768])})
        return out

    both = {}
    if rng.random() < 0.3:
        both = {"patch_size": rng.choice([8, 14]), "temporal_patch_size": rng.choice([1, 2, 3])}
    out = {"images": {**one(False), **both}, "videos": {**one(True), **both}}
    if rng.random() < 0.2:  # the older names
        out["images"].update(min_pixels=rng.choice([784, 4096]), max_pixels=rng.choice([4096, 50176]))
    return {**out, "one_file": rng.random() < 0.3}


def processor_options(rng):
    """Those of a call."""
    out = {}
    if rng.random() < 0.2:
        out["min_pixels"] = rng.choice([1, 3136, 9216, 40000])
    if rng.random() < 0.2:
        out["max_pixels"] = rng.choice([1024, 9216, 40000, 100000])
    if rng.random() < 0.2:
        out["max_video_pixels"] = rng.choice([4096, 100000, 400000])
    if rng.random() < 0.15:
        out["backend"] = "pil"
    if rng.random() < 0.3:
        out.update(
            rng.choice([{"fps": 1}, {"fps": 5}, {"num_frames": 4}, {"num_frames": 7}, {"do_sample_frames": False}])
        )
    return out


def media_draw(rng, folder, templates):
    """Conversations with files; several are a batch."""
    keys = rng.random() < 0.35
    has_settings = rng.random() < 0.3
    conversations, sources, kinds = [], {}, []

    def media(kind):
        if kind == "image":
            part, file = image_part(rng, folder, keys)
            sources[str(next(part[k] for k in ("image", "url", "path", "base64", "image_url") if k in part))] = file
            if isinstance(part.get("image_url"), dict):
                sources[part["image_url"]["url"]] = file
            return part
        part, video_kind = video_part(rng, folder, keys)
        kinds.append(video_kind)
        return part

    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        images, videos = rng.choice([(1, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)])
        conversations.append(conversation(rng, media, {"image": images, "video": videos}))
    chat = {"add_generation_prompt": True}
    if rng.random() < 0.5:  # mostly one that has a place for all media
        chat["chat_template"] = rng.choice(["tiny", "instruct", "tools_macro"] if rng.random() < 0.9 else templates)
    if rng.random() < 0.3:
        chat["sanitize_control_tokens"] = True
    draw = {
        "conversations": conversations,
        "chat": chat,
        "options": processor_options(rng),
        "files": sources,
        "keys": keys,
    }
    if rng.random() < 0.2:
        draw["options"]["padding_side"] = "right"
    if has_settings:
        draw["settings"] = settings(rng)
        if keys:
            for one in ("images", "videos"):
                draw["settings"][one].pop("temporal_patch_size", None)
        if rng.random() < 0.3:  # the library saves the processor, and transformers loads what it saved
            draw["save"] = str(folder / "saved")
    return draw


QUESTIONS = [
    "Describe this image.",
    "How many shapes are there?",
    "What colour is the star?",
    "Is there a red circle?",
    "Where is the heart?",
    "What is at the top left?",
    "What can you do?",
    "What shapes do you know?",
    "What moves?",
    "Which image has a star?",
]


def answer_part(rng, folder, kind, scenes):
    """An image, mostly of those that the models know, or a video, for an answer."""
    name_ = f"m{len(list(folder.iterdir()))}"
    if kind == "video":
        video = media_files.frames(rng, rng.randint(2, 6))
        return {"type": "video", "video": media_files.save_frames(folder, name_, video), "sample_fps": 2}
    if rng.random() < 0.7:
        scene = rng.choice(scenes)
        (folder / scene.name).write_bytes(scene.read_bytes())
        return {"type": "image", "image": scene.name}
    height, width = rng.randint(50, 200), rng.randint(50, 200)
    media_files.Image.fromarray(media_files.array(rng, height, width)).save(folder / f"{name_}.png")
    return {"type": "image", "image": f"{name_}.png"}


def answer_draw(rng, folder, templates, scenes):
    """Conversations that a model answers, with settings of generation. `scenes` are images that the model knows."""
    media = lambda kind: answer_part(rng, folder, kind, scenes)  # noqa: E731
    chat = {"sanitize_control_tokens": True, "add_generation_prompt": True}  # what the program has
    if rng.random() < 0.3:  # any conversation, with the options that a request may have
        counts = rng.choice([{}, {}, {"image": 1}, {"image": 2}, {"video": 1}])
        conversations = [conversation(rng, media, counts)]
        chat["chat_template"] = rng.choice(templates) if rng.random() < 0.8 else random_templates.template(rng)
        if rng.random() < 0.3:
            chat["tools"] = [tool(rng) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.3:
            chat["chat_template_kwargs"] = {"enable_thinking": rng.random() < 0.5, "extra": value(rng, 2)}
        if conversations[0][-1]["role"] == "assistant" and rng.random() < 0.5:
            chat.update(add_generation_prompt=False, continue_final_message=True)
    else:
        conversations = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            parts = [
                media(rng.choice(["image", "image", "image", "video"])) for _ in range(rng.choice([0, 1, 1, 1, 2]))
            ]
            question = rng.choice(QUESTIONS) if rng.random() < 0.7 else text(rng)
            messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
            if rng.random() < 0.15:
                messages.insert(0, {"role": "system", "content": text(rng, control=0)})
            if rng.random() < 0.2:
                messages.append({"role": "assistant", "content": text(rng, control=0)})
                messages.append({"role": "user", "content": rng.choice(QUESTIONS)})
            conversations.append(messages)
    return {"conversations": conversations, "chat": chat, "generate": generation(rng), "moe": rng.random() < 0.35}


def generation(rng):
    """Settings of generate() that leave nothing to chance."""
    token = lambda: rng.choice(
        [rng.randrange(704), rng.randrange(32, 500), 13, 261, 32, 315, 338, 356, 630]
    )  # noqa: E731
    some = lambda: rng.random() < 0.12  # noqa: E731
    out = {"max_new_tokens": rng.choice([1, 4, 8, 16, 24])}
    if some():
        out["min_new_tokens"] = rng.choice([1, 3, 10, 40])
    if some():
        out["repetition_penalty"] = rng.choice([0.7, 1.05, 1.3, 2.0])
    if some():
        out["encoder_repetition_penalty"] = rng.choice([0.8, 1.2, 1.5])
    if some():
        out["no_repeat_ngram_size"] = rng.choice([1, 2, 3])
    if some():
        out["encoder_no_repeat_ngram_size"] = rng.choice([1, 2, 3])
    if some():
        out["suppress_tokens"] = [token() for _ in range(rng.randint(1, 4))]
    if some():
        out["begin_suppress_tokens"] = [token() for _ in range(rng.randint(1, 4))]
    if some():
        out["bad_words_ids"] = [[token() for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 4))]
    if some():
        biases = {
            tuple(token() for _ in range(rng.randint(1, 2))): rng.choice([-5.0, -1.5, 2.0, 8.0])
            for _ in range(rng.randint(1, 4))
        }
        out["sequence_bias"] = [[list(ids), bias] for ids, bias in biases.items()]
    if some():
        out["exponential_decay_length_penalty"] = [rng.choice([1, 3, 6]), rng.choice([1.01, 1.2, 1.6])]
    if some():
        out["forced_eos_token_id"] = rng.choice([630, [630], 13, [13, 628]])
    if some():
        out["eos_token_id"] = rng.choice([13, [13, 630], [630], 315])
    if some():
        out["stop_strings"] = rng.choice([["."], [" the", "green"], "shape", [" a large"], ["\n", "ar"], ["zzz"]])
    if some():
        out["guidance_scale"] = rng.choice([1.5, 0.5, 3.0])
    if some():
        out["watermarking_config"] = {
            "bias": rng.choice([1.0, 3.0]),
            "greenlist_ratio": rng.choice([0.25, 0.5]),
            "hashing_key": rng.choice([15485863, 7]),
            "seeding_scheme": rng.choice(["lefthash", "lefthash", "selfhash"]),
            "context_width": rng.choice([1, 2, 3]),
        }
    if some():
        out["min_length"] = rng.choice([10, 60, 130])
    if some():  # without an effect where nothing is sampled
        out.update(
            do_sample=False,
            **rng.choice([{"top_k": 3}, {"temperature": 0.5}, {"top_p": 0.3, "min_p": 0.2}, {"typical_p": 0.5}]),
        )
    if some():
        out["renormalize_logits"] = True
    if some() and "exponential_decay_length_penalty" not in out:  # together, scores overflow
        out["remove_invalid_values"] = True
    if rng.random() < 0.3:
        out["num_beams"] = rng.choice([2, 3, 4, 5])
        if rng.random() < 0.4:
            out["num_return_sequences"] = rng.randint(1, out["num_beams"])
        if rng.random() < 0.4:
            out["length_penalty"] = rng.choice([-1.0, 0.0, 0.5, 2.0])
        if rng.random() < 0.5:
            out["early_stopping"] = rng.choice([True, False, "never"])
    elif some() and "guidance_scale" not in out:
        out["prompt_lookup_num_tokens"] = rng.choice([1, 3, 10])
    return out


def strip(messages):
    """A copy that the reference may change."""
    return copy.deepcopy(messages)
