// fmt's own translation unit, of which Debian ships only the shared library: its headers hold all that is in it. Linked
// into what is carried over (REPREFILL_CARRIED).
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template thousands_sep_result<char> thousands_sep_impl<char>(locale_ref);
template char decimal_point_impl<char>(locale_ref);
template void buffer<char>::append(const char*, const char*);
}  // namespace detail
FMT_END_NAMESPACE
