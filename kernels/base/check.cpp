#include "kernels/base/check.hpp"

#include <fmt/args.h>

#include "kernels/base/kernel_error.hpp"

namespace reprefill::kernels::detail {

void throw_shape_error(const char* format, std::initializer_list<MessageValue> values) {
  fmt::dynamic_format_arg_store<fmt::format_context> arguments;
  for (const MessageValue& value : values) {
    if (value.is_integer)
      arguments.push_back(value.integer);
    else
      arguments.push_back(value.real);
  }
  throw ShapeError(fmt::vformat(format, arguments));
}

void throw_cuda_error(const char* call, const char* name, const char* text, const char* file, int line) {
  throw CudaError(fmt::format("{}:{}: {} failed: {} ({})", file, line, call, name, text));
}

}  // namespace reprefill::kernels::detail
