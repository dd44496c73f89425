/// A record of a run: every operation with its sizes, the work that it has at least and its time, and the layers around
/// it. Off unless Context::set_trace() is given one; an operation then costs two looks at the clock, otherwise one
/// comparison with null. trace/chrome_trace.hpp writes it to a file that browsers show.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// One call: of an operation of the backend, or of a layer made of operations (which then has no work of its own).
struct TracedCall {
  struct Size {
    std::string_view name{};  ///< empty: not there
    index_t value = 0;
  };

  std::string_view name;       ///< of the operation (backend/contract/ops.hpp) or layer; names are literals
  std::string_view weights{};  ///< type of the weight matrix, such as "bf16"; empty where there is none
  std::array<Size, 4> sizes{};
  double products = 0.0;  ///< multiplications and additions of weight matrices, each counts one
  double others = 0.0;    ///< multiplications and additions of everything else, about
  double bytes = 0.0;     ///< weights, cached keys and values, and activations, read and written, each once
  bool is_layer = false;
};

/// A call and when it was, in nanoseconds after the trace was made.
struct TraceEvent {
  TracedCall call;
  std::int64_t begin = 0;
  std::int64_t end = -1;  ///< -1: not over yet
};

/// Events in the order in which they began. Not shared between threads, as the context that it belongs to.
class Trace {
 public:
  /// Keeps `most_events` of them (160 bytes each) and counts the rest.
  explicit Trace(std::size_t most_events = std::size_t{1} << 20) : most_events_(most_events) {}

  const std::vector<TraceEvent>& events() const { return events_; }
  /// Calls that were not kept, because there were too many.
  std::size_t dropped() const { return dropped_; }

  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// Begins a call; returns what end() takes.
  std::size_t begin(const TracedCall& call) {
    if (events_.size() >= most_events_) {
      ++dropped_;
      return none;
    }
    events_.push_back({.call = call});
    events_.back().begin = now();  // last, so that the vector's growth is not the call's time
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

/// Records the scope that it lives in; does nothing without a trace.
class TraceScope {
 public:
  /// `describe()` gives the TracedCall and is called only if there is a trace.
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
