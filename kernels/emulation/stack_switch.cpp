#include "kernels/emulation/stack_switch.hpp"

#include <bit>
#include <cstdint>

namespace reprefill::kernels::emulation {

#ifdef __x86_64__

namespace {

/// System V ABI: a call keeps rbx, rbp and r12 to r15 (and the floating-point control words, which nobody changes
/// here).
constexpr std::size_t kSavedRegisters = 6;

}  // namespace

extern "C" void reprefill_switch_stack(void** saved_stack_pointer, void* stack_pointer);
asm(R"(
.text
.globl reprefill_switch_stack
.type reprefill_switch_stack, @function
reprefill_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size reprefill_switch_stack, .-reprefill_switch_stack
)");

void SavedStack::start(std::byte* stack, std::size_t num_bytes, void (*entry)()) {
  // From the top: a return address of nobody, so that `entry` finds the stack aligned as after a call, then `entry`,
  // which the switch returns to, then registers.
  const std::uintptr_t top = (std::bit_cast<std::uintptr_t>(stack) + num_bytes) & ~std::uintptr_t{15};
  auto* words = reinterpret_cast<std::uintptr_t*>(top);
  *--words = 0;
  *--words = std::bit_cast<std::uintptr_t>(entry);
  for (std::size_t i = 0; i < kSavedRegisters; ++i) *--words = 0;
  stack_pointer_ = words;
}

void SavedStack::switch_to(SavedStack& other) { reprefill_switch_stack(&stack_pointer_, other.stack_pointer_); }

#else

void SavedStack::start(std::byte* stack, std::size_t num_bytes, void (*entry)()) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = num_bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
}

void SavedStack::switch_to(SavedStack& other) { swapcontext(&context_, &other.context_); }

#endif

}  // namespace reprefill::kernels::emulation
