/// A record of a run: every operation with its sizes, minimum work and time, and the enclosing layers. Off unless
/// Context::set_trace() is given one. A traced operation costs two clock reads, an untraced one a comparison with null.
/// trace/chrome_trace.hpp writes a file that browsers can show.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// A call of a backend operation, or of a layer made of operations (which has no work of its own).
struct TracedCall {
  struct Size {
    std::string_view name{};  ///< empty: unused
    index_t value = 0;
  };

  std::string_view name;       ///< of the operation (backend/contract/ops.hpp) or layer; names are literals
  std::string_view weights{};  ///< type of the weight matrix, such as "bf16"; empty where there is none
  std::array<Size, 4> sizes{};
  double products = 0.0;  ///< multiplications and additions of weight matrices, counted separately
  double others = 0.0;    ///< multiplications and additions of everything else, approximately
  double bytes = 0.0;     ///< weights, cached keys and values, and activations, read or written, each counted once
  bool is_layer = false;
};

/// A call and its time, in nanoseconds since the trace was made.
struct TraceEvent {
  TracedCall call;
  std::int64_t begin = 0;
  std::int64_t end = -1;  ///< -1: still running
};

/// Events in the order in which they began. Not shared between threads, like its context.
class Trace {
 public:
  /// Keeps up to `most_events` (160 bytes each) and counts the rest.
  explicit Trace(std::size_t most_events = std::size_t{1} << 20) : most_events_(most_events) {}

  const std::vector<TraceEvent>& events() const { return events_; }
  /// The number of calls dropped because there were too many.
  std::size_t dropped() const { return dropped_; }

  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// Begins a call; returns the argument for end().
  std::size_t begin(const TracedCall& call) {
    if (events_.size() >= most_events_) {
      ++dropped_;
      return none;
    }
    events_.push_back({.call = call});
    events_.back().begin = now();  // last, so that the vector's growth does not count as the call's time
    return events_.size() - 1;
  }
  void end(std::size_t event) {
    if (event != none) events_[event].end = now();
  }

 private:
  std::int64_t now() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_).count();
  }

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<TraceEvent> events_;
  std::size_t most_events_;
  std::size_t dropped_ = 0;
};

/// Records its own scope; does nothing without a trace.
class TraceScope {
 public:
  /// `describe()` returns the TracedCall; called only if there is a trace.
  template <class F>
  requires requires(F f) { f().name; }
  TraceScope(Trace* trace, F&& describe) : trace_(trace) {
    if (trace_ != nullptr) [[unlikely]]
      event_ = trace_->begin(describe());
  }
  /// A layer, with one size or number of its own.
  TraceScope(Trace* trace, std::string_view layer, TracedCall::Size size = {})
      : TraceScope(trace, [&] { return TracedCall{.name = layer, .sizes = {size}, .is_layer = true}; }) {}
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;
  ~TraceScope() {
    if (trace_ != nullptr) [[unlikely]]
      trace_->end(event_);
  }

 private:
  Trace* trace_;
  std::size_t event_ = Trace::none;
};

}  // namespace qwen3vl
