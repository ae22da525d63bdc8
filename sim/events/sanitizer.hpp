// Tells AddressSanitizer, where it is on, which pooled memory is not in use.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REPREFILL_HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define REPREFILL_HAS_ASAN 1
#endif
#ifdef REPREFILL_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace reprefill::sim::detail {

inline void poison_memory([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) {
#ifdef REPREFILL_HAS_ASAN
  __asan_poison_memory_region(memory, size);
#endif
}
inline void unpoison_memory([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) {
#ifdef REPREFILL_HAS_ASAN
  __asan_unpoison_memory_region(memory, size);
#endif
}

}  // namespace reprefill::sim::detail
