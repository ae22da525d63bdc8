// How values look in failures and in the names of parameters: as numbers and names, not as bytes.
#pragma once

#include <ostream>

#include "core/base/params.hpp"
#include "core/base/units.hpp"
#include "core/pipeline/software_path.hpp"

namespace reprefill {

inline void PrintTo(Bytes size, std::ostream* out) { *out << size.value << " B"; }
inline void PrintTo(Nanoseconds time, std::ostream* out) { *out << time.value << " ns"; }

namespace pipeline {

inline void PrintTo(PathKind path, std::ostream* out) { *out << enum_name(path); }

}  // namespace pipeline
}  // namespace reprefill
