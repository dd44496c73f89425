// Instructions of a whole warp, and asynchronous copies.
#include <cstring>
#include <string>

#include "access.hpp"
#include "block.hpp"
#include "cuda_instructions_on_host.hpp"
#include "memory.hpp"

namespace qwen3vl::cuda {
extern unsigned char qwen3vl_shared_bytes[227 * 1024];
}

namespace cuda_on_host {

namespace {

bool in_shared(const void* address) {
  const unsigned char* const shared = qwen3vl::cuda::qwen3vl_shared_bytes;
  return address >= shared && address < shared + sizeof qwen3vl::cuda::qwen3vl_shared_bytes;
}
void want_multiple(const char* what, const void* address, std::size_t of) {
  if (reinterpret_cast<std::uintptr_t>(address) % of != 0)
    fail(std::string(what) + " of an address that is no multiple of " + std::to_string(of));
}

/// Number i (0 or 1) of the two bf16 in a register.
double half(std::uint32_t word, int i) {
  qwen3vl::bf16 value;
  value.bits = static_cast<std::uint16_t>(word >> (16 * i));
  return static_cast<double>(static_cast<float>(value));
}

/// check_access from within a device function.
void check(const void* address, std::size_t bytes, Access access) {
  running.checking = true;
  check_access(address, bytes, access);
  running.checking = false;
}

}  // namespace

void load_tiles(std::uint32_t (&r)[4], const void* row, bool transposed, std::source_location at) {
  const Pause pause;
  const char* const name = transposed ? "ldmatrix_x4_trans" : "ldmatrix_x4";
  want_multiple(name, row, 16);
  if (!in_shared(row)) fail(std::string(name) + " of an address that is not in shared memory");
  check(row, 16, Access::read);
  const WarpSlots& slots = exchange(name, 0xffffffffu, &row, sizeof row, at);
  const unsigned lane = running.thread->number % 32;
  for (unsigned tile = 0; tile < 4; ++tile) {
    std::uint16_t pair[2];
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned tile_row = transposed ? 2 * (lane % 4) + i : lane / 4;
      const unsigned column = transposed ? lane / 4 : 2 * (lane % 4) + i;
      const unsigned char* address = nullptr;
      std::memcpy(&address, slots.lanes[8 * tile + tile_row], sizeof address);
      std::memcpy(&pair[i], address + 2 * column, 2);
    }
    r[tile] = pair[0] | static_cast<std::uint32_t>(pair[1]) << 16;
  }
}

void multiply_tiles(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], std::source_location at) {
  const Pause pause;
  struct Operands {
    std::uint32_t a[4], b[2];
  };
  Operands mine{};
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const WarpSlots& slots = exchange("mma_bf16_16x8x16", 0xffffffffu, &mine, sizeof mine, at);
  Operands all[32];
  for (int l = 0; l < 32; ++l) std::memcpy(&all[l], slots.lanes[l], sizeof mine);
  // Row r, column k of A: register (k / 8) * 2 + r / 8 of lane (r % 8) * 4 + (k % 8) / 2.
  const auto at_a = [&](int r, int k) { return half(all[r % 8 * 4 + k % 8 / 2].a[k / 8 * 2 + r / 8], k % 2); };
  // Row k, column n of B: register k / 8 of lane n * 4 + (k % 8) / 2.
  const auto at_b = [&](int k, int n) { return half(all[n * 4 + k % 8 / 2].b[k / 8], k % 2); };
  const int lane = static_cast<int>(running.thread->number % 32);
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = static_cast<double>(d[i]);
    for (int k = 0; k < 16; ++k) sum += at_a(row, k) * at_b(k, column);
    d[i] = static_cast<float>(sum);
  }
}

// The data of a copy comes when it is waited for, the latest that the device may do it; its place counts as written
// from the beginning on, the earliest, and holds NaN between.
void begin_copy(void* to_shared, const void* from_global, std::size_t bytes, bool valid) {
  const Pause pause;
  want_multiple("cp.async to", to_shared, bytes);
  want_multiple("cp.async from", from_global, bytes);
  if (!in_shared(to_shared)) fail("cp.async to an address that is not in shared memory");
  if (valid && !is_device_memory(from_global)) fail("cp.async from an address that is not in device memory");
  if (valid) check(from_global, bytes, Access::read);
  check(to_shared, bytes, Access::write);
  std::memset(to_shared, 0xff, bytes);
  running.thread->copies.back().push_back({static_cast<unsigned char*>(to_shared),
                                           valid ? static_cast<const unsigned char*>(from_global) : nullptr, bytes});
}

void commit_copies() {
  const Pause pause;
  running.thread->copies.emplace_back();
}

void wait_for_copies(int pending) {
  const Pause pause;
  auto& groups = running.thread->copies;
  while (static_cast<int>(groups.size()) - 1 > pending) {
    for (const PendingCopy& copy : groups.front()) {
      check(copy.to, copy.bytes, Access::write);
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    }
    groups.erase(groups.begin());
  }
}

}  // namespace cuda_on_host
