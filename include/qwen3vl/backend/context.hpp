/// What every operation gets first: the backend's handle and its scratch memory.
#pragma once

#include "qwen3vl/tensor/workspace.hpp"

namespace qwen3vl {

/// One line of execution on a backend. Not shared between threads: two models in two threads have two contexts.
template <class B>
class Context {
 public:
  explicit Context(B& backend) : backend_(&backend) {}

  B& backend() { return *backend_; }
  Workspace<B>& workspace() { return workspace_; }

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
};

}  // namespace qwen3vl
