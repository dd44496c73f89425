/// The model with its processor: conversations in, answers out.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "program/input/arguments.hpp"
#include "program/input/preparation.hpp"
#include "program/input/settings.hpp"
#include "program/model.hpp"
#include "program/output/report.hpp"

namespace program {

/// The limit of an answer if the checkpoint's generation_config.json has none.
inline constexpr index_t default_max_new_tokens = 1024;

/// How the command line's checkpoint is loaded; `notes`, which must outlive the loading, receives what --stats says of
/// it.
PretrainedOptions pretrained_options(const Arguments& arguments, std::vector<std::string>& notes);

class Answerer {
 public:
  /// Called with the text that a token completes, if somebody is watching.
  using Watcher = std::function<void(std::string_view piece)>;

  explicit Answerer(const Arguments& arguments);

  /// Those of the command line.
  const Settings& settings() const { return settings_; }
  double load_seconds() const { return load_seconds_; }
  /// What loading did, for --stats.
  const std::vector<std::string>& load_notes() const { return load_notes_; }
  AnyModel& model() { return *model_; }
  /// Writes the model as it was loaded, with its processor, as a checkpoint.
  void save(const std::filesystem::path& folder);

  /// Whether the answer depends only on its conversation, and so is the same in any batch. With a seed, the rows of a
  /// batch draw from different streams; limits of the total length count padding; and two rope types depend on the
  /// longest row.
  bool independent_of_company(const Settings& settings) const;

  /// Answers conversations together. Ctrl-C ends the answers early, or throws Cancelled if there are none yet. Media
  /// paths are relative to `folder`; `images` are those of parts without a path.
  std::vector<Result> operator()(std::span<const Conversation> conversations, const Settings& settings,
                                 const std::filesystem::path& folder, std::span<const Image> images = {},
                                 const Watcher& watcher = {}, AnyModel::Cache* cache = nullptr);

 private:
  std::unique_ptr<AnyModel> load();

  const Arguments& arguments_;
  double load_seconds_ = 0.0;
  std::vector<std::string> load_notes_;
  Preparation prepare_;
  Settings settings_;
  std::unique_ptr<AnyModel> model_;
};

}  // namespace program
