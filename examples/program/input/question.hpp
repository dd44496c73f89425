/// Questions to the model: conversations, with what their requests say about the chat template and about generation.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "program/input/arguments.hpp"
#include "program/input/settings.hpp"

namespace program {

/// One request.
struct Question {
  Conversation messages;
  Settings settings;
  nlohmann::ordered_json id;         // to be given back
  std::optional<std::string> label;  // the answer that a row of a training set has
};

/// What the command line says.
Settings settings_of(const Arguments& arguments);

/// A conversation with the message of --system before it. Throws Error if it has a system message of its own: which of
/// the two counts cannot be known.
Conversation with_system(const Arguments& arguments, Conversation messages);

/// Reads a request of --messages or a line of --batch; `defaults` are of the command line, and the request goes first.
Question read_question(const Arguments& arguments, const Settings& defaults, std::string_view json);

/// A question preceded by `images` images, which are passed separately, and videos.
Message question(const std::string& words, std::size_t images, const std::vector<std::string>& videos,
                 const Arguments& arguments);

}  // namespace program
