/// The first argument of every operation: the backend handle and scratch memory.
#pragma once

#include "qwen3vl/tensor/workspace.hpp"
#include "qwen3vl/trace/trace.hpp"

namespace qwen3vl {

/// One line of execution on a backend. Not shared between threads: two models in two threads have two contexts.
template <class B>
class Context {
 public:
  explicit Context(B& backend) : backend_(&backend) {}

  B& backend() { return *backend_; }
  Workspace<B>& workspace() { return workspace_; }

  /// Traces every operation and layer from now on; pass nullptr to stop tracing. The trace must live until then. Only
  /// for backends on the host: on a device, operations continue after their call returns, and its own profilers trace
  /// them.
  void set_trace(Trace* trace) requires(B::is_host) { trace_ = trace; }
  Trace* trace() const {
    if constexpr (B::is_host) {
      return trace_;
    } else {
      return nullptr;
    }
  }

  /// An uninitialised activation that lives until the end of the caller's scope; takes the dynamic extents, in order.
  template <class T, index_t... E, class... Sizes>
  Scratch<T, B, E...> scratch(Sizes... sizes) {
    if constexpr (sizeof...(Sizes) == 0) {
      return Scratch<T, B, E...>(workspace_, Extents<E...>{});
    } else {
      return Scratch<T, B, E...>(workspace_, Extents<E...>(static_cast<index_t>(sizes)...));
    }
  }

 private:
  B* backend_;
  Workspace<B> workspace_;
  Trace* trace_ = nullptr;
};

}  // namespace qwen3vl
