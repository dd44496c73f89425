// expect: the Matrix of this backend lacks allocate, load_rows
#include "qwen3vl/backend/cpu.hpp"

using namespace qwen3vl;

// The CPU's matrices are loaded over a Context<Cpu>.
struct Begun : Cpu {};
constexpr auto checked = sizeof(detail::StorageCheck<Begun>);
