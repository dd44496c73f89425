/// LoRA adapters as PEFT saves them, merged into a checkpoint while it is loaded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/loading/adapters/adapter_config.hpp"
#include "qwen3vl/loading/adapters/adapter_folder.hpp"
#include "qwen3vl/loading/adapters/adapter_names.hpp"
#include "qwen3vl/loading/adapters/merged_rows.hpp"
#include "qwen3vl/loading/adapters/named_tensors.hpp"

namespace qwen3vl {

/// A folder with adapter_config.json and adapter_model.safetensors.
class PeftAdapter {
 public:
  /// What merging changed.
  struct Merged {
    std::size_t updated = 0;   ///< tensors with a low-rank update
    std::size_t replaced = 0;  ///< tensors that the adapter has whole, or rows of
  };

  /// Throws Error that says what the folder is instead, what is wrong in its files, or what they need that is not
  /// computed here.
  static PeftAdapter open(const std::filesystem::path& folder, const SafetensorsLimits& limits = {}) {
    detail::require_adapter_folder(folder);
    const std::filesystem::path config = folder / "adapter_config.json";
    AdapterConfig read = AdapterConfig::read(config);
    return PeftAdapter(folder.string(), std::move(read), MappedFile::open(config), config.string(),
                       SafetensorsFile::open(folder / "adapter_model.safetensors", limits));
  }

  const AdapterConfig& config() const { return config_; }

  /// Replaces tensors of the checkpoint, whatever format they have, by ones with the adapter's update, computed in
  /// float32 when they are read: the numbers of PEFT's model with the adapter, `scale` times its strength (PEFT's
  /// set_scale; what the adapter stores whole is not scaled). Memory does not grow by it. The checkpoint keeps the
  /// adapter's files, and has the adapter in its fingerprint. Adapters are merged one after the other, each into the
  /// result of those before, as with PEFT's merge_and_unload.
  ///
  /// `tied`: the head is the embedding. An adapter of one of them parts them, as it does in PEFT's model, which then
  /// computes with both (its merge_and_unload would change both); `tied` is then false and both are stored.
  ///
  /// Throws Error if the adapter has tensors that it changes nothing with, or of other sizes than it says.
  Merged merge_into(Checkpoint& checkpoint, float scale, bool& tied, const Warn& warn = print_warning) && {
    detail::NamedTensors target(checkpoint);
    std::map<std::string, Update> updates;
    std::vector<std::pair<std::string, const StoredTensor*>> base, whole, tokens;
    for (const StoredTensor& tensor : file_.tensors()) sort(tensor, updates, base, whole, tokens);

    // The tied pair: two tensors if the adapter parts them, otherwise the embedding alone.
    if (tied) {
      const auto changes = [&](const char* module) {
        return updates.contains(key(module, 0)) ||
               (config_.saves(module) &&
                std::ranges::any_of(whole, [&](const auto& one) { return one.first == weight_of(module); }));
      };
      const bool of_head = changes(head), of_embedding = changes(embedding);
      const bool tokens_of_head = std::ranges::any_of(tokens, [&](const auto& one) { return one.first == head; });
      const bool parted = tokens_of_head ||
                          (config_.ensure_weight_tying ? of_head && of_embedding  // the same numbers twice: still tied
                                                       : of_head || of_embedding);
      const StoredTensor* const stored = target.find(weight_of(target.find(weight_of(embedding)) ? embedding : head));
      if (stored != nullptr) {
        const StoredTensor both = *stored;
        target.put(weight_of(embedding), both);
        if (parted) {
          target.put(weight_of(head), both);
        } else {
          target.erase(weight_of(head));
        }
      }
      if (parted && !config_.ensure_weight_tying && warn)
        warn(concat(name_, " changes one of the tied ", weight_of(head), " and ", weight_of(embedding),
                    ": they are two matrices now, as in PEFT's model with the adapter (its merge_and_unload would ",
                    "change both)"));
      pair_is_one_ = tied = !parted;
      parted_ = parted;
    }
    for (const auto& [name, tensor] : base) replace(target, name, *tensor, /*both=*/true);
    for (const auto& [name, tensor] : whole) replace(target, name, *tensor, /*both=*/false);
    for (auto& [name, update] : updates) merge(target, update, scale);
    for (const auto& [module, tensor] : tokens) replace_tokens(target, module, *tensor);
    if (!unused_.empty())
      fail(name_, " has tensors that change nothing in this model: ", detail::listed(unused_),
           "; is it an adapter of another model, or do target_modules not name them?");
    warn_of_missing(target, updates, warn);

    checkpoint.keep(std::move(file_).take_mapping(), name_ + "/adapter_model.safetensors");
    checkpoint.keep(std::move(config_file_), config_name_);
    checkpoint.note(concat("adapter ", std::filesystem::weakly_canonical(name_).string(), " ", scale));
    return merged_;
  }

 private:
  using Kind = detail::AdapterTensorName::Kind;
  static constexpr const char *head = "lm_head", *embedding = "model.language_model.embed_tokens";

  /// The tensors of a low-rank update of a module.
  struct Update {
    std::string module;
    std::string stored;  // a name in the file, for messages
    int wrapped = 0;
    const StoredTensor *a = nullptr, *b = nullptr, *bias = nullptr, *magnitudes = nullptr;
    bool of_embedding = false;
  };

  PeftAdapter(std::string name, AdapterConfig config, MappedFile config_file, std::string config_name,
              SafetensorsFile file)
      : name_(std::move(name)),
        config_(std::move(config)),
        config_file_(std::move(config_file)),
        config_name_(std::move(config_name)),
        file_(std::move(file)) {}

  static std::string weight_of(std::string_view module) { return concat(module, ".weight"); }
  static std::string module_of(std::string_view tensor) { return std::string(tensor.substr(0, tensor.rfind('.'))); }
  static bool is_pair(std::string_view tensor) { return tensor == weight_of(head) || tensor == weight_of(embedding); }
  static std::string key(std::string_view module, int wrapped) { return concat(module, ":", wrapped); }
  std::string shown(const StoredTensor& tensor) const { return detail::shown(tensor.name); }
  void unused(const StoredTensor& tensor) { unused_.push_back(shown(tensor)); }

  template <class List>
  void sort(const StoredTensor& tensor, std::map<std::string, Update>& updates, List& base, List& whole, List& tokens) {
    const detail::AdapterTensorName parsed = detail::parse_adapter_tensor_name(tensor.name);
    if (parsed.kind == Kind::unknown) return unused(tensor);
    if (parsed.kind == Kind::copy) return;
    if (!is_floating_weight(tensor.dtype))
      fail(name_, ": ", shown(tensor), " is of type ", name_of(tensor.dtype), ", wanted F32, BF16 or F16");
    if (parsed.kind == Kind::tokens) return tokens.emplace_back(parsed.name, &tensor), void();
    if (parsed.kind == Kind::base) return base.emplace_back(parsed.name, &tensor), void();
    if (parsed.kind == Kind::whole) return whole.emplace_back(parsed.name, &tensor), void();
    Update& update = updates[key(parsed.name, parsed.wrapped)];
    update.module = parsed.name;
    update.wrapped = parsed.wrapped;
    update.stored = shown(tensor);
    const auto set = [&](const StoredTensor*& place) {
      if (place != nullptr) fail(name_, " has ", shown(*place), " and ", shown(tensor), ": two adapters in one file");
      place = &tensor;
    };
    const bool of_embedding = parsed.kind == Kind::embedding_a || parsed.kind == Kind::embedding_b;
    if (of_embedding) update.of_embedding = true;
    if (parsed.kind == Kind::lora_a || parsed.kind == Kind::embedding_a) set(update.a);
    if (parsed.kind == Kind::lora_b || parsed.kind == Kind::embedding_b) set(update.b);
    if (parsed.kind == Kind::lora_b_bias) set(update.bias);
    if (parsed.kind == Kind::magnitudes) set(update.magnitudes);
  }

  [[noreturn]] void wrong_shape(const StoredTensor& tensor, const std::string& wanted) const {
    fail(name_, ": ", shown(tensor), " is ", detail::shape_text(tensor.shape), ", wanted ", wanted);
  }
  void require_shape(const StoredTensor& tensor, std::initializer_list<index_t> shape) const {
    std::vector<index_t> flat = tensor.shape;  // a convolution's factors have its kernel's sizes: [r, in, t, h, w]
    if (flat.size() > 2) flat = {flat[0], flat[0] == 0 ? 0 : tensor.size() / flat[0]};
    if (!std::ranges::equal(flat, shape))
      wrong_shape(tensor, detail::shape_text(std::vector<index_t>(shape)) + " from adapter_config.json and the model");
  }

  /// A tensor that the adapter has whole. `both`: it is the base of the adapter, so also that of a tied head.
  void replace(detail::NamedTensors& target, const std::string& name, const StoredTensor& tensor, bool both) {
    const std::string place = pair_is_one_ && name == weight_of(head) ? weight_of(embedding) : name;
    const StoredTensor* const old = target.find(place);
    if (old == nullptr) return unused(tensor);
    std::vector<index_t> turned = old->shape;
    if (turned.size() == 3) std::swap(turned[1], turned[2]);  // experts: as the Hub has them, or as transformers 5
    if (tensor.shape != old->shape && tensor.shape != turned)
      wrong_shape(tensor, detail::shape_text(old->shape) + ", the model's");
    if (turned.size() == 3 && turned[1] == turned[2])
      fail(name_, ": ", shown(tensor), " has square matrices of experts, whose layout cannot be told");
    target.put(place, tensor);
    if (both && parted_ && is_pair(place)) {
      target.put(weight_of(head), tensor);
      target.put(weight_of(embedding), tensor);
    }
    ++merged_.replaced;
  }

  void replace_tokens(detail::NamedTensors& target, const std::string& module, const StoredTensor& rows) {
    const StoredTensor* const old = target.find(weight_of(module));
    const auto found = std::ranges::find_if(config_.trainable_token_indices, [&](const auto& one) {
      return AdapterConfig::ends_with_name(module, one.first);
    });
    if (old == nullptr || old->shape.size() != 2 || found == config_.trainable_token_indices.end()) return unused(rows);
    const std::vector<std::int32_t>& tokens = found->second;
    require_shape(rows, {static_cast<index_t>(tokens.size()), old->shape[1]});
    for (const std::int32_t token : tokens)
      if (token >= old->shape[0])
        fail(name_, ": trainable_token_indices has ", token, ", but ", weight_of(module), " has ", old->shape[0],
             " rows");
    require_columns(*old, old->shape[1]);
    StoredTensor merged{.name = old->name, .dtype = DType::f32, .shape = old->shape, .bytes = {}};
    merged.encoded = std::make_shared<detail::ReplacedRows>(*old, rows, tokens);
    target.put(weight_of(module), merged);
    ++merged_.replaced;
  }

  void require_columns(const StoredTensor& base, index_t columns) const {
    if (!is_floating_weight(base.dtype))
      fail(name_, ": ", detail::shown(base.name), " of the model is of type ", name_of(base.dtype),
           ", wanted F32, BF16 ", "or F16");
    if (base.encoded && base.encoded->columns() != columns)
      fail(name_, ": ", detail::shown(base.name), " has rows of ", base.encoded->columns(), " (",
           base.encoded->type_name(), "), wanted ", columns, " to merge into them");
  }

  void merge(detail::NamedTensors& target, const Update& update, float scale) {
    const StoredTensor* const any = update.a      ? update.a
                                    : update.b    ? update.b
                                    : update.bias ? update.bias
                                                  : update.magnitudes;
    if (update.a == nullptr || update.b == nullptr)
      fail(name_, " has ", update.stored, ", but not both ",
           update.of_embedding ? "lora_embedding_A and _B" : "lora_A and lora_B", " of that module");
    // A tied head has the embedding's update, if weights are to stay tied.
    if (pair_is_one_ && update.module == head) return;
    if (update.module.ends_with(".experts")) return merge_experts(target, update, scale);
    const std::string name = weight_of(update.module);
    const StoredTensor* const base = target.find(name);
    const bool by_parameter = config_.targets_parameter(name);
    if (base == nullptr || base->shape.size() < 2 || update.wrapped > 0 ||
        (config_.target_modules.given && !by_parameter && !targets(update.module, any->name)))
      return unused(*any);
    const index_t rows = base->shape[0], columns = rows == 0 ? 0 : base->size() / rows;
    if (rows == 0 || columns == 0) return unused(*any);
    const std::string pattern_name = by_parameter ? name : update.module;
    const index_t rank = config_.rank(pattern_name);
    detail::LowRankRows::Update low_rank{
        .left = {}, .right = {}, .rank = rank, .scaling = scale * config_.scaling(pattern_name)};
    if (update.of_embedding) {  // (B A) transposed
      require_shape(*update.a, {rank, rows});
      require_shape(*update.b, {columns, rank});
      low_rank.left = {.tensor = *update.a, .e = 0, .i = 1, .j = rows};
      low_rank.right = {.tensor = *update.b, .e = 0, .i = 1, .j = rank};
    } else {
      require_shape(*update.a, {rank, columns});
      require_shape(*update.b, {rows, rank});
      low_rank.left = {.tensor = *update.b, .e = 0, .i = rank, .j = 1};
      low_rank.right = {.tensor = *update.a, .e = 0, .i = columns, .j = 1};
    }
    if (config_.use_dora != (update.magnitudes != nullptr))
      fail(name_, config_.use_dora ? " lacks the lora_magnitude_vector of " : " has a lora_magnitude_vector of ",
           detail::shown(update.module), config_.use_dora ? "" : ", but adapter_config.json has no use_dora");
    if (config_.use_dora) {
      low_rank.kind = update.of_embedding ? detail::Magnitudes::columns : detail::Magnitudes::rows;
      low_rank.magnitudes = *update.magnitudes;
      const index_t count = update.of_embedding ? columns : rows;
      if (update.magnitudes->size() != count) wrong_shape(*update.magnitudes, concat(count, " values"));
    }
    if (update.bias != nullptr) merge_bias(target, update, low_rank.scaling);
    put(target, name, *base, 1, rows, columns, std::move(low_rank));
  }

  void merge_bias(detail::NamedTensors& target, const Update& update, float scaling) {
    const std::string name = update.module + ".bias";
    const StoredTensor* const base = target.find(name);
    if (!config_.lora_bias || base == nullptr)
      fail(name_, " has ", shown(*update.bias),
           config_.lora_bias ? ", but that layer of the model has no bias to add it to"
                             : ", but adapter_config.json has no lora_bias");
    require_shape(*update.bias, {base->size()});
    std::vector<float> sum(static_cast<std::size_t>(base->size())), bias(sum.size());
    read_floats(*base, sum);
    read_floats(*update.bias, bias);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += scaling * bias[i];
    StoredTensor merged{.name = name, .dtype = DType::f32, .shape = base->shape, .bytes = {}};
    merged.encoded = std::make_shared<detail::ComputedRow>(std::move(sum));
    target.put(name, merged);
    ++merged_.updated;
  }

  /// target_parameters: lora_A is [rank E, in] and lora_B [out, E rank] (by rank, then by expert). The adapter of
  /// the parameter that comes last is the outermost one of the module.
  void merge_experts(detail::NamedTensors& target, const Update& update, float scale) {
    std::vector<std::string> targeted;
    for (const char* const parameter : {".gate_up_proj", ".down_proj"})
      if (config_.targets_parameter(update.module + parameter)) targeted.push_back(update.module + parameter);
    if (update.wrapped >= static_cast<int>(targeted.size())) return unused(*update.a);
    const std::string name = targeted[targeted.size() - 1 - static_cast<std::size_t>(update.wrapped)];
    const std::string other = update.module + (name.ends_with(".down_proj") ? ".gate_up_proj" : ".down_proj");
    const StoredTensor *const base = target.find(name), *const beside = target.find(other);
    if (base == nullptr || base->shape.size() != 3 || base->size() == 0 || update.of_embedding)
      return unused(*update.a);
    if (update.magnitudes != nullptr || update.bias != nullptr)
      fail(name_, ": DoRA and lora_bias of ", detail::shown(name), " are not known to PEFT");
    const index_t experts = base->shape[0], rows = base->shape[1], columns = base->shape[2];
    // Stored as the Hub has it, [E, in, out], or as transformers 5, [E, out, in]. Of square matrices the other
    // parameter says it: gate_up_proj has more columns than rows on the Hub, and where it is the square, down_proj has.
    const bool hub = rows == columns
                         ? beside != nullptr && beside->shape.size() == 3 && beside->shape[1] < beside->shape[2]
                         : !update.a->shape.empty() && update.a->shape.back() == rows;
    const index_t in = hub ? rows : columns, out = hub ? columns : rows;
    const index_t rank = config_.rank(name);
    require_shape(*update.a, {rank * experts, in});
    require_shape(*update.b, {out, rank * experts});
    const detail::Factor a{.tensor = *update.a, .e = rank * in, .i = hub ? 1 : in, .j = hub ? in : 1};
    const detail::Factor b{
        .tensor = *update.b, .e = 1, .i = hub ? experts : rank * experts, .j = hub ? rank * experts : experts};
    put(target, name, *base, experts, rows, columns,
        {.left = hub ? a : b, .right = hub ? b : a, .rank = rank, .scaling = scale * config_.scaling(name)});
  }

  void put(detail::NamedTensors& target, const std::string& name, const StoredTensor& base, index_t experts,
           index_t rows, index_t columns, detail::LowRankRows::Update update) {
    require_columns(base, columns);
    StoredTensor merged{.name = name, .dtype = DType::f32, .shape = base.shape, .bytes = {}};
    merged.encoded = std::make_shared<detail::LowRankRows>(base, experts, rows, columns, std::move(update));
    target.put(name, merged);
    ++merged_.updated;
  }

  /// nn.Linear, but for the head: PEFT's "all-linear".
  static bool is_linear(const std::string& module) {
    return module != head && module != embedding && !module.ends_with(".pos_embed") &&
           !module.ends_with(".patch_embed.proj");
  }
  /// By the model's name, or by that in the file: patterns may be about names of an older class.
  bool targets(const std::string& module, std::string_view stored) const {
    if (config_.targets(module, is_linear(module)) || (config_.ensure_weight_tying && module == head)) return true;
    std::string_view old = stored.substr(0, stored.rfind(".lora_"));
    while (old.starts_with("base_model.model.")) old.remove_prefix(std::string_view("base_model.model.").size());
    return config_.targets(old, is_linear(module));
  }

  void warn_of_missing(const detail::NamedTensors& target, const std::map<std::string, Update>& updates,
                       const Warn& warn) const {
    std::vector<std::string> missing;
    for (const auto& [name, stored] : target.names()) {
      if (!name.ends_with(".weight") || name.find("norm") != name.npos) continue;
      const std::string module = module_of(name);
      const StoredTensor* const tensor = target.find(name);
      if (tensor->shape.size() < 2 || updates.contains(key(module, 0))) continue;
      if (config_.target_modules.given && config_.targets(module, is_linear(module))) missing.push_back(module);
    }
    if (!missing.empty() && warn)
      warn(concat(name_, " has nothing for modules that its target_modules name: ", detail::listed(missing)));
  }

  std::string name_;
  AdapterConfig config_;
  MappedFile config_file_;
  std::string config_name_;
  SafetensorsFile file_;
  bool pair_is_one_ = false, parted_ = false;
  std::vector<std::string> unused_;
  Merged merged_;
};

}  // namespace qwen3vl
