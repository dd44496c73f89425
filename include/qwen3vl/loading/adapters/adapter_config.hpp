/// adapter_config.json of PEFT (0.21): which modules a LoRA changes, and how strongly.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/python_pattern.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// What LoraConfig says about a trained adapter. Settings of training are read over.
class AdapterConfig {
 public:
  /// Names of modules, as PEFT matches them: whole names or ends of names, or one regular expression.
  struct Names {
    bool given = false;
    std::vector<std::string> ends{};
    std::optional<PythonPattern> pattern{};
    bool all_linear = false;

    bool match(std::string_view module, std::int64_t& steps) const {
      if (pattern) return pattern->matches_all(module, &steps);
      return std::ranges::any_of(ends, [&](const std::string& end) { return ends_with_name(module, end); });
    }
  };

  std::string base_model_name_or_path{};
  bool use_dora = false;
  bool lora_bias = false;
  bool ensure_weight_tying = false;
  Names target_modules{}, exclude_modules{};
  std::vector<std::string> target_parameters{};
  std::vector<std::string> modules_to_save{};
  /// Per embedding (a name or the end of one), the tokens whose rows are replaced.
  std::vector<std::pair<std::string, std::vector<std::int32_t>>> trainable_token_indices{};

  /// Throws Error for another kind of adapter, and for settings that change numbers in a way that is not computed here.
  static AdapterConfig read(const std::filesystem::path& path) {
    return parse(read_text_file(path, 10'000'000), path.string());
  }
  static AdapterConfig parse(std::string_view text, const std::string& name) {
    const nlohmann::json json = parse_json(text, name, {.max_bytes = 10'000'000, .max_depth = 20, .unique_keys = true});
    AdapterConfig config(name);
    const JsonFields fields(json, name);
    config.check_keys(fields);
    config.read_numbers(fields, nlohmann::ordered_json::parse(text));
    config.read_targets(fields);
    return config;
  }

  /// "module" is it, or ends with a dot and it.
  static bool ends_with_name(std::string_view module, std::string_view end) {
    return module.ends_with(end) && (module.size() == end.size() || module[module.size() - end.size() - 1] == '.');
  }

  /// Rank of the update of `module` (of a parameter that target_parameters names: the parameter).
  index_t rank(std::string_view module) const { return static_cast<index_t>(value(ranks_, r_, module)); }
  /// What the product of its two matrices is multiplied by.
  float scaling(std::string_view module) const {
    const auto r = static_cast<double>(rank(module));
    return static_cast<float>(value(alphas_, alpha_, module) / (use_rslora_ ? std::sqrt(r) : r));
  }

  /// Whether PEFT puts a LoRA on the module. `linear`: whether it is what "all-linear" means.
  bool targets(std::string_view module, bool linear) const {
    if (exclude_modules.match(module, steps_) || saves(module)) return false;
    if (target_modules.all_linear) return linear;
    if (!target_modules.match(module, steps_)) return false;
    if (target_modules.pattern || layers_to_transform_.empty()) return true;
    const std::optional<std::int64_t> layer = layer_of(module);
    return layer && std::ranges::find(layers_to_transform_, *layer) != layers_to_transform_.end();
  }
  /// Whether `module` is stored whole (modules_to_save), or inside of one that is.
  bool saves(std::string_view module) const {
    return std::ranges::any_of(saved_,
                               [&](const PythonPattern& pattern) { return pattern.matches_start(module, &steps_); });
  }
  /// Whether target_parameters names this parameter.
  bool targets_parameter(std::string_view parameter) const {
    return std::ranges::any_of(target_parameters,
                               [&](const std::string& end) { return ends_with_name(parameter, end); });
  }

 private:
  using Patterns = std::vector<std::pair<PythonPattern, double>>;

  explicit AdapterConfig(std::string name) : name_(std::move(name)) {}

  static std::string lower_case(std::string text) {
    for (char& c : text)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
  }

  static bool says_nothing(const nlohmann::json& value) {
    return value.is_null() || value == false ||
           ((value.is_object() || value.is_array() || value.is_string()) && value.empty());
  }

  /// Unknown keys may change numbers.
  void check_keys(const JsonFields& fields) const {
    const std::string type = fields.string("peft_type");
    if (type != "LORA")
      fail(fields.place("peft_type"), " is ", detail::shown(type), "; only LORA is read: merge the adapter with PEFT ",
           "(merge_and_unload) and save that");
    // Read below, or about training and where files are.
    static constexpr std::string_view known[] = {"peft_type",
                                                 "alpha_pattern",
                                                 "auto_mapping",
                                                 "base_model_class",
                                                 "base_model_name_or_path",
                                                 "bias",
                                                 "corda_config",
                                                 "ensure_weight_tying",
                                                 "eva_config",
                                                 "exclude_modules",
                                                 "fan_in_fan_out",
                                                 "inference_mode",
                                                 "init_lora_weights",
                                                 "layers_pattern",
                                                 "layers_to_transform",
                                                 "loftq_config",
                                                 "lora_alpha",
                                                 "lora_bias",
                                                 "lora_dropout",
                                                 "lora_ga_config",
                                                 "megatron_core",
                                                 "modules_to_save",
                                                 "parent_library",
                                                 "peft_version",
                                                 "qalora_group_size",
                                                 "r",
                                                 "rank_pattern",
                                                 "revision",
                                                 "runtime_config",
                                                 "target_modules",
                                                 "target_parameters",
                                                 "task_type",
                                                 "trainable_token_indices",
                                                 "use_dora",
                                                 "use_rslora",
                                                 "velora_config"};
    for (const auto& [key, value] : fields.object().items())
      if (!says_nothing(value) && std::ranges::find(known, key) == std::end(known))
        fail(fields.where(), ": ", detail::shown(key), " is not understood and may change numbers: merge the adapter ",
             "with PEFT (merge_and_unload) and save that, or remove the key if it is only about training");
    if (const nlohmann::json* const start = fields.find("init_lora_weights"); start != nullptr && start->is_string()) {
      const std::string word = lower_case(start->get<std::string>());
      if (word != "gaussian" && word != "eva" && word != "orthogonal")
        fail(fields.place("init_lora_weights"), " is ", detail::shown(word),
             ", which changes the base model's weights ",
             "before training: save the adapter as one of the unchanged base model (PEFT's save_pretrained with ",
             "path_initial_model_for_weight_conversion)");
    }
  }

  void read_numbers(const JsonFields& fields, const nlohmann::ordered_json& ordered) {
    fields.read("base_model_name_or_path", base_model_name_or_path);
    fields.read("r", r_, within(1, 1e6));
    fields.read("lora_alpha", alpha_, within(-1e9, 1e9));
    fields.read("use_rslora", use_rslora_);
    fields.read("use_dora", use_dora);
    fields.read("lora_bias", lora_bias);
    fields.read("ensure_weight_tying", ensure_weight_tying);
    std::string bias = "none";
    fields.read("bias", bias);
    if (bias != "none" && bias != "all" && bias != "lora_only")
      fields.wrong("bias", "\"none\", \"all\" or \"lora_only\"");
    bool transposed = false;  // there is no Conv1D in this model, and PEFT takes no notice of it elsewhere
    fields.read("fan_in_fan_out", transposed);
    // The first pattern that matches counts: in the file's order.
    const auto patterns = [&](const char* key, Range range, bool whole, Patterns& to) {
      if (!fields.has(key)) return;
      if (!fields.find(key)->is_object()) fields.wrong(key, "an object");
      for (const auto& [pattern, value] : ordered.at(key).items()) {
        const double number = value.is_number() ? value.template get<double>() : std::nan("");
        if (!range.has(number) || (whole && number != std::floor(number)))
          wrong_value(concat(fields.place(key), ".", detail::shown(pattern)), value,
                      concat(whole ? "an integer " : "a number ", range.text()));
        to.emplace_back(PythonPattern(concat("(.*\\.)?(", pattern, ")$"), fields.place(key)), number);
      }
    };
    patterns("rank_pattern", within(1, 1e6), true, ranks_);
    patterns("alpha_pattern", within(-1e9, 1e9), false, alphas_);
  }

  void read_targets(const JsonFields& fields) {
    read_names(fields, "target_modules", target_modules);
    read_names(fields, "exclude_modules", exclude_modules);
    target_parameters = texts(fields, "target_parameters");
    modules_to_save = texts(fields, "modules_to_save");
    for (const std::string& module : modules_to_save)
      saved_.emplace_back(concat("(^|.*\\.)(?:", module, ")($|\\..*)"), fields.place("modules_to_save"));
    std::vector<std::int32_t> layers;
    fields.read("layers_to_transform", layers, at_least(0));
    layers_to_transform_.assign(layers.begin(), layers.end());
    for (const std::string& pattern : texts(fields, "layers_pattern"))
      layers_patterns_.emplace_back(concat("(?:^|.*?\\.)(?:", pattern, ")\\."), fields.place("layers_pattern"));
    if (const nlohmann::json* const tokens = fields.find("trainable_token_indices")) {
      const auto indices = [&](const JsonFields& object, const std::string& key, std::string module) {
        std::vector<std::int32_t> list;
        object.read(key, list, at_least(0));
        trainable_token_indices.emplace_back(std::move(module), std::move(list));
      };
      if (tokens->is_object()) {
        const JsonFields section = fields.section("trainable_token_indices");
        for (const auto& [module, list] : tokens->items()) indices(section, module, module);
      } else {
        indices(fields, "trainable_token_indices", "embed_tokens");
      }
    }
  }

  void read_names(const JsonFields& fields, const char* key, Names& names) {
    const nlohmann::json* const found = fields.find(key);
    if (found == nullptr) return;
    names.given = true;
    if (!found->is_string()) {
      names.ends = texts(fields, key);
    } else if (&names == &target_modules && lower_case(found->get<std::string>()) == "all-linear") {
      names.all_linear = true;
    } else {
      names.pattern.emplace(found->get_ref<const std::string&>(), fields.place(key));
    }
  }

  /// One text or a list of them.
  static std::vector<std::string> texts(const JsonFields& fields, const char* key) {
    std::vector<std::string> all;
    const nlohmann::json* const found = fields.find(key);
    if (found == nullptr) return all;
    const auto add = [&](const nlohmann::json& item) {
      if (!item.is_string() || item.get_ref<const std::string&>().empty()) fields.wrong(key, "a list of names");
      all.push_back(item.get<std::string>());
    };
    if (!found->is_array()) {
      add(*found);
    } else {
      for (const nlohmann::json& item : *found) add(item);
    }
    return all;
  }

  double value(const Patterns& patterns, double otherwise, std::string_view module) const {
    for (const auto& [pattern, value] : patterns)
      if (pattern.matches_start(module, &steps_)) return value;
    return otherwise;
  }

  /// The number of the layer that a module belongs to: the first one behind layers_pattern or, without one, behind at
  /// least two other parts of the name.
  std::optional<std::int64_t> layer_of(std::string_view module) const {
    std::size_t parts = 0;
    for (std::size_t begin = 0; begin < module.size(); ++parts) {
      const std::size_t end = module.find('.', begin);
      if (end == std::string_view::npos) break;
      const std::string_view part = module.substr(begin, end - begin);
      const bool number = !part.empty() && part.size() <= 9 && part.find_first_not_of("0123456789") == part.npos;
      const auto behind = [&](const PythonPattern& pattern) {
        return pattern.matches_all(module.substr(0, begin), &steps_);
      };
      if (number && (layers_patterns_.empty() ? parts >= 2 : std::ranges::any_of(layers_patterns_, behind)))
        return std::stoll(std::string(part));
      begin = end + 1;
    }
    return std::nullopt;
  }

  std::string name_;
  index_t r_ = 8;
  double alpha_ = 8.0;
  bool use_rslora_ = false;
  Patterns ranks_, alphas_;
  std::vector<PythonPattern> saved_, layers_patterns_;
  std::vector<std::int64_t> layers_to_transform_;
  mutable std::int64_t steps_ = PythonPattern::steps_of_all;
};

}  // namespace qwen3vl
