/// The layers that benchmarks run on: random weights, cold on each call, made once for consecutive benchmarks.
#pragma once

#include <any>
#include <memory>
#include <string>
#include <vector>

#include "layer_work.hpp"
#include "qwen3vl/backend/cpu.hpp"
#include "random_tensors.hpp"

namespace qwen3vl::bench {

/// Enough copies of a layer that its weights have left the processor's caches when its turn comes again, as in a model.
/// With one copy, the weights of small layers would come from the cache.
template <class Layer>
class Copies {
 public:
  Copies(Context<Cpu>& ctx, std::size_t cold_bytes) {
    RepeatedRandomWeights weights;
    do {
      layers_.push_back(std::make_unique<Layer>());
      load_parameters(ctx, *layers_.back(), weights, "random numbers");
      bytes_ += weight_bytes();
    } while (bytes_ < cold_bytes && layers_.size() < 256);
  }

  Layer& turn() { return *layers_[next_++ % layers_.size()]; }

  /// Bytes of one copy, and of them that are read for `rows` rows of which each goes to `top_k` experts.
  std::size_t weight_bytes() { return static_cast<std::size_t>(touched_bytes(1, 0)); }
  double touched_bytes(index_t rows, index_t top_k) { return bench::touched_bytes(*layers_[0], rows, top_k); }
  /// Operations of all matrices for one row.
  double row_operations(index_t top_k) { return bench::row_operations(*layers_[0], top_k); }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
  std::size_t bytes_ = 0;
  std::size_t next_ = 0;
};

/// The layers of the running benchmark. Google Benchmark calls a function several times to find the number of
/// iterations, and consecutive benchmarks share a layer; making it again would take longer than measuring it.
class CurrentFixture {
 public:
  template <class T, class Make>
  T& get(const std::string& key, Make&& make) {
    if (key != key_ || std::any_cast<std::shared_ptr<T>>(&fixture_) == nullptr) {
      fixture_.reset();  // first, so that the two are not in memory at once
      fixture_ = std::shared_ptr<T>(make());
      key_ = key;
    }
    return **std::any_cast<std::shared_ptr<T>>(&fixture_);
  }
  static CurrentFixture& instance() {
    static CurrentFixture fixture;
    return fixture;
  }

 private:
  std::string key_;
  std::any fixture_;
};

}  // namespace qwen3vl::bench
