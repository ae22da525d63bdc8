#include <algorithm>
#include <new>

#include "kernels/emulation/fibers.hpp"
#include "tests/kernels/support/device_memory.hpp"

namespace reprefill::kernels::test {
namespace {
constexpr auto kAlignment = std::align_val_t{256};  // cudaMalloc's
}

bool has_device() { return true; }
void synchronize() {}

void for_each_schedule(const std::function<void()>& check) {
  using emulation::CopyTiming;
  for (const emulation::Schedule& schedule :
       {emulation::Schedule{.copies = CopyTiming::at_wait, .order_seed = 0},
        emulation::Schedule{.copies = CopyTiming::at_issue, .order_seed = 20261123}}) {
    emulation::set_schedule(schedule);
    check();
  }
  emulation::set_schedule({});
}

DeviceMemory::DeviceMemory(std::size_t num_bytes, Kind)
    : memory_(new (kAlignment) std::byte[std::max<std::size_t>(num_bytes, 1)],
              [](std::byte* pointer) { ::operator delete[](pointer, kAlignment); }),
      num_bytes_(num_bytes) {}

void DeviceMemory::write(const void* from, std::size_t num_bytes) {
  if (num_bytes > 0) std::memcpy(get(), from, num_bytes);
}
void DeviceMemory::read(void* to, std::size_t num_bytes) const {
  if (num_bytes > 0) std::memcpy(to, get(), num_bytes);
}
void DeviceMemory::fill(int byte) { std::memset(get(), byte, num_bytes_); }

}  // namespace reprefill::kernels::test
